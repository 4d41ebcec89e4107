"""Row groups as packed rows: what Arrow reads, wherever it comes from."""

import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.sample_datasets import write_dataset

from shardline.data.column_chunks import ColumnChunks, joined
from shardline.data.open_shards import OpenShard
from shardline.data.packed_shards import PackedShards
from shardline.data.packing import Layout
from shardline.data.reading import shard_table
from shardline.data.schema import Column, Label
from shardline.errors import DataError, IntegrityError
from shardline.store import Store

ROWS = 100
TENSORS = (
    Column(name="image", dtype="uint8", shape=(5, 3, 1)),
    Column(name="a.b", dtype="float32", shape=(2, 2)),
    Column(name="pair", dtype="float32", shape=(2,)),
    Column(name="half", dtype="float16", shape=(3,)),
    Column(name="small", dtype="int16", shape=(1,)),
    Column(name="byte", dtype="int8", shape=(7,)),
    Column(name="times", dtype="int64", shape=(2,)),
)
NUMBERS = (
    *TENSORS,
    Column(name="a", dtype="float32"),
    Column(name="b", dtype="float32"),
    Column(name="long", dtype="uint64"),
    Column(name="i16", dtype="int16"),
    Column(name="when", dtype="timestamp"),
)
OTHERS = (
    Column(name="text", dtype="string"),
    Column(name="flag", dtype="bool"),
    Column(name="flags", dtype="bool", shape=(2,)),
)
LABEL = Label(name="y", dtype="int64")


def random_values(column, random):
    shape = (ROWS, *column.shape)
    if column.dtype == "string":
        return np.array([f"t{n}" for n in range(ROWS)], object)
    if column.dtype == "timestamp":
        return random.integers(0, 10**15, shape).astype("datetime64[us]")
    if column.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if column.numpy_dtype.kind == "f":
        return random.normal(size=shape).astype(column.dtype)
    limits = np.iinfo(column.dtype)
    return random.integers(limits.min, limits.max, shape, column.dtype, endpoint=True)


@pytest.fixture
def stored(tmp_path):
    """A dataset in a folder; its one shard and what is in it."""
    random = np.random.default_rng(0)
    columns = (*NUMBERS, *OTHERS, LABEL)
    values = {column.name: random_values(column, random) for column in columns}
    store = Store(f"file://{tmp_path}")
    manifest = write_dataset(
        store, columns[:-1], LABEL, {"train": values}, rows_per_group=64, groups_per_shard=2
    )
    (shard,) = manifest.split("train").shards
    return store, manifest, shard, values


def assert_same(packed, layout, values, rows):
    found = layout.unpack(packed)
    assert list(found) == [column.name for column in layout.columns]
    for column in layout.columns:
        expected = values[column.name][rows]
        if column.dtype == "timestamp":
            expected = expected.astype(np.int64)
        assert found[column.name].dtype == column.numpy_dtype
        np.testing.assert_array_equal(
            found[column.name].reshape(expected.shape), expected, err_msg=column.name
        )


def test_tensors_and_numbers_beside_them_come_from_pages_alone(stored, monkeypatch):
    store, manifest, shard, values = stored
    monkeypatch.setattr(OpenShard, "read", None)
    layout = Layout((*NUMBERS, LABEL))
    shards = PackedShards(store, manifest, layout)
    assert_same(shards.row_group(shard, 1), layout, values, slice(64, None))
    assert_same(shards.row_group(shard, 0), layout, values, slice(64))


def test_all_else_comes_by_arrow_beside_them(stored, monkeypatch):
    store, manifest, shard, values = stored
    asked = []
    original = OpenShard.read
    monkeypatch.setattr(
        OpenShard, "read", lambda self, g, names: asked.append(names) or original(self, g, names)
    )
    layout = Layout((*OTHERS, *NUMBERS, LABEL))
    shards = PackedShards(store, manifest, layout)
    assert_same(shards.row_group(shard, 0), layout, values, slice(64))
    assert asked == [["text", "flag", "flags"]]


def test_numbers_without_tensors_come_by_arrow(stored, monkeypatch):
    store, manifest, shard, values = stored
    monkeypatch.setattr(ColumnChunks, "read", None)
    layout = Layout((*NUMBERS[len(TENSORS) :], LABEL))
    shards = PackedShards(store, manifest, layout)
    assert_same(shards.row_group(shard, 0), layout, values, slice(64))


def rewritten(store, manifest, shard, table, **options):
    """A shard of these rows as another writer would have made it."""
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=64, **options)
    data = sink.getvalue()
    store.write(f"{manifest.folder}/{shard.key}", data)
    digest = hashlib.sha256(data).hexdigest()
    return shard.model_copy(update={"size_bytes": len(data), "sha256": digest})


@pytest.mark.parametrize(
    "options",
    [
        {"write_page_checksum": True},
        {"use_dictionary": False, "write_page_checksum": True},
        {"use_dictionary": False, "compression": "zstd", "write_page_checksum": True},
        {"use_dictionary": False, "compression": "zstd", "data_page_version": "2.0"},
    ],
    ids=["dictionaries", "snappy", "version 1", "no checksums"],
)
def test_shards_of_earlier_versions_are_read_by_arrow(stored, options):
    store, manifest, shard, values = stored
    earlier = rewritten(store, manifest, shard, shard_table(store, manifest, shard), **options)
    layout = Layout((*NUMBERS, *OTHERS, LABEL))
    shards = PackedShards(store, manifest, layout)
    assert_same(shards.row_group(earlier, 0), layout, values, slice(64))
    assert_same(shards.row_group(earlier, 1), layout, values, slice(64, None))


def test_changed_bytes_of_pages_are_named_or_change_nothing(stored):
    store, manifest, shard, values = stored
    key = f"{manifest.folder}/{shard.key}"
    data = store.read(key)
    layout = Layout((*NUMBERS, LABEL))
    end = pq.read_metadata(io.BytesIO(data)).row_group(0)
    last = end.column(end.num_columns - 1)
    refused = []
    for place in range(4, last.data_page_offset + last.total_compressed_size, 7):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        store.write(key, bytes(changed))
        try:
            found = PackedShards(store, manifest, layout).row_group(shard, 0)
        except IntegrityError as error:
            refused.append(str(error))
        else:
            assert_same(found, layout, values, slice(64))
    assert len(refused) > 100
    assert all("train/part-00000.parquet is damaged" in said for said in refused)


@pytest.mark.parametrize("name", ["y", "image", "pair"])
def test_nulls_are_refused_never_zero(stored, name):
    store, manifest, shard, _ = stored
    table = shard_table(store, manifest, shard)
    column = table[name].combine_chunks()
    first = pa.nulls(1, column.type)
    with_null = pa.concat_arrays([first, column.slice(1)])
    table = table.set_column(table.schema.get_field_index(name), name, with_null)
    holed = rewritten(
        store, manifest, shard, table,
        use_dictionary=False, data_page_version="2.0", write_page_checksum=True,
    )  # fmt: skip
    shards = PackedShards(store, manifest, Layout((*NUMBERS, LABEL)))
    with pytest.raises(DataError, match=f"column '{name}' has .* nulls"):
        shards.row_group(holed, 0)


@pytest.mark.parametrize(
    ("spans", "gap", "expected"),
    [
        ([], 0, []),
        ([(4, 8), (8, 9)], 0, [(4, 9)]),
        ([(4, 8), (9, 12)], 0, [(4, 8), (9, 12)]),
        ([(4, 8), (9, 12), (20, 30)], 1, [(4, 12), (20, 30)]),
        ([(4, 30), (5, 6), (31, 32)], 1, [(4, 32)]),
    ],
)
def test_joined_spans(spans, gap, expected):
    assert joined(spans, gap=gap) == expected
