import pyarrow as pa
import pytest
from tests.raw_sources import (
    spec_for,
    table_csv,
    upload,
    write_csv,
    write_images,
    write_jsonl,
    write_parquet,
)

from shardline.data import csv_blocks, csv_rows, json_lines
from shardline.data.readers import read_rows, read_tables
from shardline.data.rows import ORIGIN_ROW
from shardline.data.schema import Column, Label, Schema
from shardline.data.sources import fingerprint, list_source, read_contents
from shardline.errors import DataError

SCHEMA = Schema(
    features=(Column(name="x", dtype="float32"), Column(name="n", dtype="int32")),
    label=Label(name="y", dtype="float32"),
)


def listed(folder, format, path):
    spec = spec_for(folder, format, path)
    return list_source(spec.data.source, base=folder), spec.data.source


def names(folder, path, format="csv"):
    return [file.name for file in listed(folder, format, path)[0].files]


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b.csv", "a.CSV", "sub/c.csv", "sub/deep/d.csv", "notes.md", ".hidden.csv", "_tmp/e.csv",
    ):  # fmt: skip
        write_csv(tmp_path / "raw" / name, name)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("raw", ["a.CSV", "b.csv", "sub/c.csv", "sub/deep/d.csv"]),
        ("raw/b.csv", ["b.csv"]),
        ("raw/notes.md", ["notes.md"]),
        ("raw/*.csv", [".hidden.csv", "b.csv"]),
        ("raw/**/*.csv", [".hidden.csv", "_tmp/e.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"]),
        ("raw/sub/?.csv", ["c.csv"]),
        ("raw/[!b-z].CSV", ["a.CSV"]),
        ("raw/s*/*.csv", ["sub/c.csv"]),
    ],
)
def test_list_source_finds_files_folders_and_globs(tree, path, expected):
    assert names(tree, path) == expected


def test_list_source_same_names_on_s3(tree, s3_store):
    upload(s3_store, tree / "raw", "raw")
    for path in ("raw", "raw/b.csv", "raw/**/*.csv", "raw/s*/*.csv"):
        assert names(tree, f"{s3_store.uri}/{path}") == names(tree, path)


def test_list_source_brackets_in_a_real_name_are_no_glob(tmp_path):
    write_csv(tmp_path / "raw [v1]/a.csv", "x,y\n1,2\n")
    assert names(tmp_path, "raw [v1]") == ["a.csv"]


def test_fingerprint_follows_names_and_content_alone(tree):
    before = fingerprint(read_contents(listed(tree, "csv", "raw")[0]))
    (tree / "raw").rename(tree / "moved")
    assert fingerprint(read_contents(listed(tree, "csv", "moved")[0])) == before
    (tree / "moved/b.csv").write_text("other")
    changed = fingerprint(read_contents(listed(tree, "csv", "moved")[0]))
    assert changed != before
    (tree / "moved/b.csv").write_text("b.csv")
    (tree / "moved/b.csv").rename(tree / "moved/z.csv")
    assert fingerprint(read_contents(listed(tree, "csv", "moved")[0])) not in (before, changed)


def test_read_contents_streamed_equal_whole(tree, monkeypatch):
    files, _ = listed(tree, "csv", "raw")
    whole = read_contents(files)
    monkeypatch.setattr("shardline.data.sources.WHOLE_READ_BYTES", 0)
    monkeypatch.setattr("shardline.data.sources.STREAM_BYTES", 3)
    assert read_contents(files) == whole


def test_csv_row_numbers_are_right_across_blocks_and_skipped_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_blocks, "LINES_BYTES", 64)
    lines = table_csv(200).splitlines()
    for number in (1, 50, 51, 120, 200):
        lines[number] += ",surplus"
    write_csv(tmp_path / "raw.csv", "\n".join(lines))
    files, source = listed(tmp_path, "csv", "raw.csv")
    batches = list(read_tables(files, source, [("n", "feature")]))
    assert len(batches) > 10
    rejected = [r.row for batch in batches for r in batch.rejected]
    assert rejected == [1, 50, 51, 120, 200]
    table = pa.concat_tables([b.table for b in batches if b.table.num_rows])
    assert table[ORIGIN_ROW].to_pylist() == [int(n) + 1 for n in table["n"].to_pylist()]
    assert len(rejected) + table.num_rows == 200


def test_json_row_numbers_are_right_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 64)
    rows = [{"n": i, "w": "é" * 5} for i in range(100)]
    rows[49] = "{broken"
    write_jsonl(tmp_path / "raw.jsonl", rows)
    files, source = listed(tmp_path, "json", "raw.jsonl")
    batches = list(read_tables(files, source, [("n", "feature")]))
    assert len(batches) > 10
    assert [r.row for batch in batches for r in batch.rejected] == [50]
    origins = [row for b in batches for row in b.table[ORIGIN_ROW].to_pylist()]
    values = [n for b in batches if b.table.num_rows for n in b.table["n"].to_pylist()]
    assert origins == [n + 1 for n in values]
    assert len(origins) == 99


@pytest.mark.parametrize("format", ["csv", "parquet", "json"])
def test_read_rows_scores_tables_without_a_label(tmp_path, format):
    write_csv(tmp_path / "raw/a.csv", "id,x,n\na,1.5,1\nb,bad,2\nc,2.5,3\n")
    ids, xs = ["a", "b", "c"], [1.5, "bad", 2.5]
    write_parquet(tmp_path / "raw/a.parquet", id=ids, x=[str(x) for x in xs], n=[1, 2, 3])
    records = [{"id": i, "x": x, "n": n} for i, x, n in zip(ids, xs, (1, 2, 3), strict=True)]
    write_jsonl(tmp_path / "raw/a.jsonl", records)
    files, source = listed(tmp_path, format, "raw")
    batches = list(read_rows(files, source, SCHEMA, keep=["id"]))
    table = pa.concat_tables([batch.table for batch in batches])
    assert table.column_names == ["x", "n", "id"]
    assert [field.type for field in table.schema] == [pa.float32(), pa.int32(), pa.string()]
    assert table.to_pydict() == {"x": [1.5, 2.5], "n": [1, 3], "id": ["a", "c"]}
    (rejected,) = [r for batch in batches for r in batch.rejected]
    assert rejected.row == 2
    assert "'bad'" in rejected.reason
    assert sum(batch.num_read for batch in batches) == 3


def test_read_rows_missing_feature_column_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,m\n1,2\n")
    files, source = listed(tmp_path, "csv", "raw.csv")
    with pytest.raises(DataError, match=r"raw\.csv has no feature 'n'; its columns are x, m"):
        list(read_rows(files, source, SCHEMA))


def test_read_rows_images_need_no_class_folder(tmp_path):
    write_images(tmp_path / "raw", per_class=1)
    (tmp_path / "raw/ant/0.png").rename(tmp_path / "raw/loose.png")
    write_csv(tmp_path / "raw/broken.png", "no image")
    schema = Schema(
        features=(Column(name="pixels", dtype="uint8", shape=(4, 5, 3)),),
        label=Label(name="class", dtype="int64", vocabulary=("cat", "dog")),
    )
    files, source = listed(tmp_path, "images", "raw")
    (batch,) = read_rows(files, source, schema)
    assert batch.table["path"].to_pylist() == ["cat/0.png", "dog/0.png", "loose.png"]
    assert batch.table.schema.field("pixels").type == schema.features[0].arrow_type
    assert [r.file for r in batch.rejected] == ["broken.png"]
