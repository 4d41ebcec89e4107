"""Files as they come from elsewhere: each gets a sentence or a quarantine row, nothing is lost."""

import gzip
import io
import random
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.raw_sources import spec_for, table_csv, write_csv, write_images, write_jsonl

from shardline.data.readers import read_tables
from shardline.data.reading import column_to_numpy
from shardline.data.sources import list_source
from shardline.errors import DataError, ShardlineError, SpecError

CHANGES = 5000


def reasons(spec, result):
    return [(row["row"], row["reason"]) for row in quarantined(spec, result)]


def csv_spec(folder, data, **options):
    write_csv(folder / "raw.csv", data)
    return spec_for(folder, "csv", "raw.csv", **{"max_quarantined": 0.9, **options})


def refused(spec, sentence):
    with pytest.raises(DataError, match=sentence):
        prepare(spec)


# Text


def test_csv_of_mixed_encodings_loses_no_row_and_prints_nothing(tmp_path, capfd):
    lines = [b"id,x,y", "é,1,1".encode(), "é,2,2".encode("latin-1"), b"\xff,3,3,4,5", b"a,4,4"]
    spec = csv_spec(tmp_path, b"\n".join(lines), keep=["id"])
    result = prepare(spec)
    assert reasons(spec, result) == [
        (2, "column 'id' is not valid UTF-8"),
        (3, "has 5 cells, expected 3"),
    ]
    assert sorted(rows_of(spec, result)["id"].to_pylist()) == ["a", "é"]
    assert capfd.readouterr().err == ""


def test_csv_with_byte_order_mark_and_other_newlines(tmp_path):
    for newline in ("\n", "\r\n", "\r"):
        text = "\ufeffx,y\n1,2\n3,4\n".replace("\n", newline)
        spec = csv_spec(tmp_path, text.encode(), store=f"store-{ord(newline[0])}{len(newline)}")
        result = prepare(spec)
        assert sorted(rows_of(spec, result)["x"].to_pylist()) == [1, 3]


def test_csv_in_utf_16_is_refused_with_the_way_out(tmp_path):
    refused(csv_spec(tmp_path, "x,y\n1,2\n".encode("utf-16")), r"raw\.csv is UTF-16 text, expected")


def test_csv_with_another_delimiter_names_it(tmp_path):
    refused(
        csv_spec(tmp_path, "x;y\n1;2\n"),
        r"raw\.csv has one column, 'x;y', when it is cut at ','; set the source's delimiter to ';'",
    )


@pytest.mark.parametrize("delimiter", ["é", '"', "\n"])
def test_csv_delimiter_that_cannot_be_one_is_refused(tmp_path, delimiter):
    with pytest.raises(
        SpecError, match=r"delimiter: expected one ASCII character other than a quo"
    ):
        csv_spec(tmp_path, "x,y\n1,2\n", delimiter=delimiter)


def test_csv_cell_of_a_million_characters_is_a_cell(tmp_path):
    long = "é" * 10**6
    spec = csv_spec(tmp_path, f"text,y\n{long},1\nshort,2\n")
    texts = rows_of(spec, prepare(spec))["text"].to_pylist()
    assert sorted(map(len, texts)) == [5, 10**6]


def test_csv_million_characters_where_a_number_should_be_are_cut_short(tmp_path):
    spec = csv_spec(tmp_path, f"x,y\n{'9' * 10**6},1\n1,2\n", features={"x": {"dtype": "float32"}})
    ((row, reason),) = reasons(spec, prepare(spec))
    assert row == 1
    assert len(reason) < 100


def test_csv_record_without_end_is_refused(tmp_path):
    refused(
        csv_spec(tmp_path, 'x,y\n1,"2\n' + "3,4\n" * 1_500_000),
        r"raw\.csv has a record of more than 4 MB, perhaps behind a quote that is never closed",
    )


def test_csv_quote_that_is_never_closed_costs_its_row(tmp_path):
    spec = csv_spec(tmp_path, 'x,t,y\n1,a,1\n2,"b,2\n3,c,3\n', label={"name": "x"})
    assert reasons(spec, prepare(spec)) == [(2, "opens a quote that is never closed")]
    spec = csv_spec(tmp_path, 'x,t,y\n1,5" pipe,1\n2,b,2', label={"name": "x"})
    assert sorted(rows_of(spec, prepare(spec))["t"].to_pylist()) == ['5" pipe', "b"]


def test_csv_numbers_out_of_range_and_dates_that_are_none(tmp_path):
    rows = ["1,2020-01-01,1", "300,2020-02-31,2", "-1,soon,3", "0x10,2020-01-02,4", "1e400,a,5"]
    rows += ["NaN,a,6", "-inf,a,7", "9" * 30 + ",a,8"]
    spec = csv_spec(
        tmp_path, "n,day,y\n" + "\n".join(rows), keep=["day"], features={"n": {"dtype": "uint8"}}
    )
    result = prepare(spec)
    assert rows_of(spec, result)["n"].to_pylist() == [1]
    assert [row for row, _ in reasons(spec, result)] == [2, 3, 4, 5, 6, 7, 8]
    assert reasons(spec, result)[0][1] == "feature 'n' is '300', expected uint8"


def test_csv_unicode_names_and_blank_lines(tmp_path):
    spec = csv_spec(tmp_path, "größe,目標,y\n1,a,1\n\n\n2,b,2\n")
    result = prepare(spec)
    assert [c.name for c in manifest_of(spec, result).columns.features] == ["größe", "目標"]
    assert result.rows_read == 2


@pytest.mark.parametrize("text", ["\n\n\n", "  ", "x,y", "x,y\r\n"])
def test_csv_without_rows_is_refused(tmp_path, text):
    refused(csv_spec(tmp_path, text), r"holds no rows")


def test_empty_files_among_others_are_passed_over(tmp_path):
    write_csv(tmp_path / "raw/a.csv", "")
    write_csv(tmp_path / "raw/b.csv", "x,y\n1,2\n")
    write_csv(tmp_path / "raw/c.csv", "x,y\n")
    write_csv(tmp_path / "raw/d.csv.gz", gzip.compress(b""))
    assert prepare(spec_for(tmp_path, "csv", "raw")).rows_kept == 1


def test_file_whose_name_is_no_text_is_refused(tmp_path):
    write_csv(tmp_path / "raw/ok.csv", "x,y\n1,2\n")
    (tmp_path / "raw/\udcff.csv").write_text("x,y\n1,2\n")
    refused(spec_for(tmp_path, "csv", "raw"), r"the name '\\udcff\.csv' in .* is not UTF-8; rename")


def test_thousands_of_tiny_files(tmp_path):
    for number in range(1000):
        write_csv(tmp_path / f"raw/{number % 50}/{number}.csv", f"x,y\n{number},1\n")
    spec = spec_for(tmp_path, "csv", "raw")
    result = prepare(spec)
    assert sorted(rows_of(spec, result)["x"].to_pylist()) == list(range(1000))


def test_json_lines_of_mixed_encodings_and_endless_lines(tmp_path, monkeypatch):
    lines = [b'{"x": 1, "y": 1}', b'{"x": 2, "y": 2, "t": "\xff"}', b'\xef\xbb\xbf{"x": 3}']
    write_csv(tmp_path / "raw.jsonl", b"\n".join(lines))
    spec = spec_for(
        tmp_path, "json", "raw.jsonl", max_quarantined=0.9, features={"x": {"dtype": "int64"}}
    )
    found = reasons(spec, prepare(spec))
    assert found[0] == (2, "is not valid UTF-8")
    assert found[1][0] == 3
    monkeypatch.setattr("shardline.data.json_lines.MAX_LINE_BYTES", 1000)
    monkeypatch.setattr("shardline.data.json_lines.BLOCK_BYTES", 100)
    write_jsonl(tmp_path / "raw.jsonl", [{"x": "a" * 5000, "y": 1}])
    refused(spec, r"raw\.jsonl has a line of more than 0 MB, expected JSON lines")


def test_nested_columns_are_refused_by_name_unless_they_are_left_out(tmp_path):
    write_jsonl(tmp_path / "raw.jsonl", [{"x": 1, "deep": {"a": 1}, "y": i} for i in range(3)])
    refused(
        spec_for(tmp_path, "json", "raw.jsonl"), r"feature 'deep' holds struct<a: int64>, which"
    )
    named = spec_for(tmp_path, "json", "raw.jsonl", features={"x": {"dtype": "int64"}})
    assert prepare(named).rows_kept == 3


# Images


def png_of_claimed_size(width, height):
    """A few bytes that say they are a huge image."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_images_that_are_empty_torn_or_bombs_are_quarantined(tmp_path):
    write_images(tmp_path / "raw", per_class=10)
    whole = (tmp_path / "raw/ant/0.png").read_bytes()
    write_csv(tmp_path / "raw/ant/a-empty.png", b"")
    write_csv(tmp_path / "raw/ant/b-torn.png", whole[:40])
    write_csv(tmp_path / "raw/ant/c-bomb.png", png_of_claimed_size(60_000, 60_000))
    write_csv(tmp_path / "raw/ant/d-large.png", png_of_claimed_size(8_000, 8_000))
    spec = spec_for(
        tmp_path, "images", "raw", label={"name": "class"}, max_quarantined=0.5,
        features={"image": {"dtype": "uint8", "shape": [4, 5, 1]}},
    )  # fmt: skip
    result = prepare(spec)
    assert (result.rows_read, result.rows_kept) == (34, 30)
    found = {row["file"]: row["reason"] for row in quarantined(spec, result)}
    assert sorted(found) == [
        f"ant/{name}.png" for name in ("a-empty", "b-torn", "c-bomb", "d-large")
    ]
    assert found["ant/a-empty.png"] == "image does not decode (it has no bytes)"
    assert "does not decode" in found["ant/c-bomb.png"]
    assert found["ant/d-large.png"] == "image has shape [8000, 8000, 1], expected [4, 5, 1]"


# Parquet


def parquet_bytes(**options):
    table = pa.table(
        {
            "n": pa.array(np.arange(400), pa.int32()),
            "t": pa.array([f"text {i % 7}" for i in range(400)]),
            "l": pa.array([[i, i + 1] for i in range(400)], pa.list_(pa.int16())),
            "y": pa.array(np.arange(400) / 8, pa.float32()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=150, write_page_checksum=True, **options)
    return sink.getvalue(), table


def footer_start(data):
    """Where the last column chunk ends."""
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(n) for group in groups for n in range(metadata.num_columns)]
    starts = [c.dictionary_page_offset or c.data_page_offset for c in columns]
    return max(s + c.total_compressed_size for s, c in zip(starts, columns, strict=True))


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_parquet_with_any_byte_changed_is_refused_or_read_right(tmp_path, compression):
    whole, expected = parquet_bytes(compression=compression)
    file = tmp_path / "raw.parquet"
    source = spec_for(tmp_path, "parquet", "raw.parquet").data.source
    chance = random.Random(7)
    num_refused, silent = 0, []
    for _ in range(CHANGES):
        damaged = bytearray(whole)
        place = chance.randrange(len(whole))
        damaged[place] ^= chance.randrange(1, 256)
        file.write_bytes(damaged)
        try:
            files = list_source(source, base=tmp_path)
            tables = [
                batch.table
                for batch in read_tables(files, source, [("y", "label")], everything=True)
                if batch.table.num_rows
            ]
        except ShardlineError:
            num_refused += 1
            continue
        found = pa.concat_tables(tables) if tables else pa.table({})
        same = set(expected.column_names) <= set(found.column_names)
        if not (same and found.select(expected.column_names).equals(expected)):
            silent.append(place)
    assert num_refused > CHANGES // 2
    # What no checksum covers: the footer's own bytes, such as a column's name or a type's width.
    assert len(silent) < CHANGES // 100
    assert min(silent, default=len(whole)) >= footer_start(whole)


def test_parquet_text_that_is_no_utf_8_is_refused(tmp_path):
    offsets = pa.array(["a", "bb"]).buffers()[:2]
    text = pa.Array.from_buffers(pa.string(), 2, [*offsets, pa.py_buffer(b"a\xff\xff")])
    pq.write_table(pa.table({"t": text, "y": [1.0, 2.0]}), tmp_path / "raw.parquet")
    refused(
        spec_for(tmp_path, "parquet", "raw.parquet"), r"raw\.parquet: .*Invalid UTF8 .*; mend or"
    )


def test_shards_have_page_checksums(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(50))
    spec = spec_for(tmp_path, "csv", "raw.csv", keep=["id"])
    result = prepare(spec)
    shard = tmp_path / f"store/datasets/sample/{result.version}/train/part-00000.parquet"
    pages = bytearray(shard.read_bytes())
    pages[60] ^= 1
    with pytest.raises(OSError, match=r"CRC checksum|corrupt"):
        pq.read_table(pa.BufferReader(bytes(pages)), page_checksum_verification=True)


def test_image_column_survives_shards(tmp_path):
    Image.fromarray(np.full((2, 2), 9, np.uint8)).save(tmp_path / "a.png")
    write_images(tmp_path / "raw", per_class=1, shape=(2, 2))
    spec = spec_for(tmp_path, "images", "raw", label={"name": "class"})
    result = prepare(spec)
    column = manifest_of(spec, result).columns.feature("image")
    assert column_to_numpy(rows_of(spec, result)["image"], column).shape == (3, 2, 2, 1)


def test_class_folders_whose_names_differ_in_bytes_alone_are_one_class(tmp_path):
    write_images(tmp_path / "raw", per_class=10)
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (tmp_path / "raw/ant").rename(tmp_path / "raw" / composed)
    (tmp_path / "raw" / decomposed).mkdir()
    (tmp_path / "raw" / composed / "0.png").rename(tmp_path / "raw" / decomposed / "0.png")
    spec = spec_for(tmp_path, "images", "raw", label={"name": "class"})
    manifest = manifest_of(spec, prepare(spec))
    assert composed in manifest.columns.label.vocabulary
    assert decomposed not in manifest.columns.label.vocabulary


def test_arrow_file_without_a_byte_is_refused_by_its_name(tmp_path):
    write_csv(tmp_path / "raw/a.arrow", b"")
    refused(spec_for(tmp_path, "arrow", "raw/*.arrow"), r"cannot read .*a\.arrow: ")
