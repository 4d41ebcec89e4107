"""Numbers read from Parquet's pages are those that Arrow reads, or the page is refused."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.data.page_headers import PageError, read_page_header
from shardline.data.page_values import read_files, read_values

SHARD = {
    "data_page_version": "2.0",
    "write_page_checksum": True,
    "use_dictionary": False,
    "write_statistics": False,
}


def chunk_of(values, field=None, **options):
    """The bytes of a column chunk, and what it is compressed by."""
    sink = io.BytesIO()
    table = pa.table([values], schema=pa.schema([field or pa.field("x", values.type)]))
    pq.write_table(table, sink, **{**SHARD, "compression": "zstd"} | options)
    found = pq.read_metadata(sink).row_group(0).column(0)
    start = found.data_page_offset
    codec = None if found.compression == "UNCOMPRESSED" else pa.Codec(found.compression.lower())
    return sink.getvalue()[start : start + found.total_compressed_size], codec


def read(chunk, codec, rows, dtype):
    out = np.zeros(rows, dtype)
    read_values(memoryview(chunk), codec, out)
    return out


def check_flips(chunk, values_of, expected):
    """Every changed bit is refused or changes no value."""
    refused = 0
    for place in range(len(chunk)):
        for bit in range(8):
            changed = bytearray(chunk)
            changed[place] ^= 1 << bit
            try:
                assert values_of(changed) == expected
            except PageError:
                refused += 1
    assert refused > 0.9 * 8 * len(chunk)


@pytest.mark.parametrize("compression", ["zstd", "none", "snappy", "gzip"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_narrow_integers_split_into_streams_are_read(dtype, compression):
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1).astype(dtype)
    chunk, codec = chunk_of(pa.array(values), use_byte_stream_split=["x"], compression=compression)
    np.testing.assert_array_equal(read(chunk, codec, len(values), dtype), values)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    "dtype", ["int32", "uint32", "int64", "uint64", "float16", "float32", "float64"]
)
def test_wide_numbers_are_read_bit_by_bit(dtype, split):
    random = np.random.default_rng(0).bytes(8 * 3000)
    values = np.frombuffer(random, dtype)[:3000]
    chunk, codec = chunk_of(pa.array(values), use_byte_stream_split=split)
    assert read(chunk, codec, 3000, dtype).tobytes() == values.tobytes()


def test_many_pages_are_one_column_in_any_strides():
    values = np.random.default_rng(0).normal(size=100_000)
    chunk, codec = chunk_of(pa.array(values), data_page_size=4096)
    out = np.zeros((len(values), 3))
    read_values(memoryview(chunk), codec, out[:, 1])
    np.testing.assert_array_equal(out[:, 1], values)
    assert not out[:, ::2].any()


def test_pages_of_another_kind_are_refused():
    numbers = pa.array(np.arange(100))
    for said, values, options in (
        ("version 2", numbers, {"data_page_version": "1.0"}),
        ("with a checksum", numbers, {"write_page_checksum": False}),
        ("1 of them null", pa.array([1, None, 3]), {}),
        ("bytes for 100 values", numbers, {"column_encoding": "DELTA_BINARY_PACKED"}),
        ("400 bytes for 100 values", pa.array(np.arange(100, dtype=np.int32)), {}),
    ):
        chunk, codec = chunk_of(values, **options)
        with pytest.raises(PageError, match=said):
            read(chunk, codec, len(values), np.int64)
    plain, codec = chunk_of(pa.array(np.arange(100, dtype=np.uint8)))
    with pytest.raises(PageError, match="encoding 0"):
        read(plain, codec, 100, np.uint8)


def test_other_numbers_of_values_and_torn_chunks_are_refused():
    chunk, codec = chunk_of(pa.array(np.arange(100)))
    for part, rows in (
        (chunk, 99), (chunk, 101), (chunk + b"\x00", 100), (chunk[:-1], 100), (chunk[:5], 100),
        (b"", 100),
    ):  # fmt: skip
        with pytest.raises(PageError):
            read(part, codec, rows, np.int64)


def test_every_changed_byte_of_a_chunk_is_refused_or_changes_no_value():
    values = np.arange(40, dtype=np.float32)
    chunk, codec = chunk_of(pa.array(values))
    check_flips(
        chunk, lambda c: read(c, codec, len(values), values.dtype).tolist(), values.tolist()
    )


def read_bytes(chunk, codec, num_values):
    return [bytes(file) for file in read_files(memoryview(chunk), codec, num_values)]


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("nullable", [False, True])
def test_files_of_many_pages_are_those_that_were_written(compression, nullable):
    random = np.random.default_rng(0)
    files = [random.bytes(int(size)) for size in random.integers(0, 3000, 200)] + [b""]
    options = {"compression": compression, "data_page_size": 4096, "write_batch_size": 8}
    field = pa.field("x", pa.large_binary(), nullable=nullable)
    chunk, codec = chunk_of(pa.array(files, pa.large_binary()), field=field, **options)
    assert read_bytes(chunk, codec, len(files)) == files


def test_files_of_other_kinds_of_pages_are_refused():
    files = pa.array([b"abcd", b"ef"], pa.large_binary())
    for said, values, options in (
        ("1 of them null", pa.array([b"abcd", None], pa.large_binary()), {}),
        ("encoding 6", files, {"column_encoding": "DELTA_LENGTH_BYTE_ARRAY"}),
        ("version 2", files, {"data_page_version": "1.0"}),
        ("files that end at byte 14 of 8", pa.array([6, 0], pa.int32()), {}),
        ("files that end at byte 8 of 16", pa.array([0, 0], pa.int64()), {}),
    ):
        chunk, codec = chunk_of(values, **options)
        with pytest.raises(PageError, match=said):
            read_bytes(chunk, codec, len(values))


def test_every_changed_byte_of_files_is_refused_or_changes_nothing():
    files = [b"some", b"", b"bytes of a file"]
    chunk, codec = chunk_of(pa.array(files, pa.large_binary()), compression="none")
    check_flips(chunk, lambda c: read_bytes(c, codec, len(files)), files)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_header_or_refused(data):
    try:
        found, end = read_page_header(memoryview(b"\x15\x06" + data), 0)
    except PageError:
        return
    assert end > 2
    assert 0 <= found.level_bytes <= found.stored_bytes


def test_structures_without_end_are_refused():
    for data in (b"\x1c" * 10_000, b"\x15" + b"\xff" * 10_000, b"\x18" + b"\xff" * 20):
        with pytest.raises(PageError, match="page's header"):
            read_page_header(memoryview(data), 0)
