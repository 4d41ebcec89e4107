"""Every kind of source gives the same rows, whatever it is packed in."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pytest
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.raw_sources import spec_for, table_csv, write_csv, write_images, write_jsonl

from shardline.data import pipeline
from shardline.data.columnar import GroupRange
from shardline.data.origin import find_origin
from shardline.data.pipeline import place_bits
from shardline.data.readers import read_tables
from shardline.data.reading import column_to_numpy
from shardline.data.rows import ORIGIN_ROW
from shardline.data.shards import ShardSize
from shardline.data.sources import SourceFile, SourceFiles, list_source
from shardline.data.units import plan_units
from shardline.errors import DataError
from shardline.store import Store

NUMBERS = pa.table({"x": [0.5, 1.5, 2.5], "y": [1.0, 2.0, 3.0]})


def packed(codec, data):
    if codec == "gzip":
        # Two members, as `cat a.gz b.gz` makes.
        half = len(data) // 2
        return gzip.compress(data[:half]) + gzip.compress(data[half:])
    return pa.compress(data, codec=codec, asbytes=True)


def xs(spec, result):
    return sorted(rows_of(spec, result)["x"].to_pylist())


@pytest.mark.parametrize("name", ["raw.csv.gz", "raw.csv"])
@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_prepare_packed_csv_is_told_by_its_bytes(tmp_path, codec, name):
    write_csv(tmp_path / "raw" / name, packed(codec, table_csv(50).encode()))
    spec = spec_for(tmp_path, "csv", "raw", keep=["id"])
    result = prepare(spec)
    assert result.rows_kept == 50
    assert xs(spec, result) == [i / 4 for i in range(50)]


def test_prepare_packed_json_lines(tmp_path):
    lines = "".join(json.dumps({"x": i, "y": i}) + "\n" for i in range(20))
    write_csv(tmp_path / "raw/a.jsonl.zst", packed("zstd", lines.encode()))
    spec = spec_for(tmp_path, "json", "raw")
    assert xs(spec, prepare(spec)) == list(range(20))


def test_prepare_torn_gzip_is_refused_by_its_name(tmp_path):
    whole = gzip.compress(table_csv(5000).encode())
    write_csv(tmp_path / "raw.csv.gz", whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cannot read .*raw\.csv\.gz: .*; mend or remove"):
        prepare(spec_for(tmp_path, "csv", "raw.csv.gz", keep=["id"]))


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", None), ("a.csv", "\t")])
def test_prepare_tabs_between_cells(tmp_path, name, delimiter):
    write_csv(tmp_path / "raw" / name, "x\ty\n1\t2\n3\t4\n")
    spec = spec_for(tmp_path, "csv", "raw", delimiter=delimiter)
    assert xs(spec, prepare(spec)) == [1, 3]


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_prepare_arrow_files_and_streams(tmp_path, kind):
    (tmp_path / "raw").mkdir()
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with new(str(tmp_path / "raw/a.arrow"), NUMBERS.schema) as writer:
        writer.write_table(NUMBERS, max_chunksize=2)
    spec = spec_for(tmp_path, "arrow", "raw")
    result = prepare(spec)
    assert xs(spec, result) == [0.5, 1.5, 2.5]
    assert manifest_of(spec, result).source.format == "arrow"


def test_prepare_torn_arrow_file_is_refused_by_its_name(tmp_path):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, NUMBERS.schema) as writer:
        writer.write_table(NUMBERS)
    write_csv(tmp_path / "raw.arrow", sink.getvalue().to_pybytes()[:-30])
    with pytest.raises(DataError, match=r"cannot read .*raw\.arrow: .*; mend or remove"):
        prepare(spec_for(tmp_path, "arrow", "raw.arrow"))


# Images with a table of labels


@pytest.fixture
def labelled(tmp_path):
    """Six images of two classes, and a table that is wrong about some."""
    write_images(tmp_path / "raw", per_class=3, classes=("a", "b"))
    rows = [f"a/{i}.png,{i}.5,cat" for i in range(3)] + [f"./b/{i}.png,7,dog" for i in range(2)]
    write_csv(tmp_path / "labels.csv", "file,age,kind\n" + "\n".join([*rows, "c.png,8,cat,"]))
    return tmp_path


def labelled_spec(folder, **data):
    return spec_for(
        folder, "images", "raw", labels={"path": "labels.csv"}, label={"name": "kind"},
        max_quarantined=0.9, **data,
    )  # fmt: skip


def test_prepare_images_with_labels_joins_rows_and_images(labelled):
    text = (labelled / "labels.csv").read_text()
    (labelled / "labels.csv").write_text(text.replace("c.png,8,cat,", "c.png,8,cat"))
    spec = labelled_spec(labelled)
    result = prepare(spec)
    schema = manifest_of(spec, result).columns
    assert [(c.name, c.dtype, c.shape) for c in schema.features] == [
        ("age", "float64", ()), ("image", "uint8", (4, 5, 1)),
    ]  # fmt: skip
    assert schema.label.vocabulary == ("cat", "dog")
    table = rows_of(spec, result).sort_by("file")
    assert table["file"].to_pylist() == ["./b/0.png", "./b/1.png", "a/0.png", "a/1.png", "a/2.png"]
    assert table["age"].to_pylist() == [7, 7, 0.5, 1.5, 2.5]
    images = column_to_numpy(table["image"], schema.feature("image"))
    assert images[:, 0, 0, 0].tolist() == [10, 11, 0, 1, 2]
    assert (result.rows_read, result.rows_kept) == (7, 5)
    assert [(row["file"], row["row"], row["reason"]) for row in quarantined(spec, result)] == [
        ("labels.csv", 6, "image 'c.png' is not there"),
        ("b/2.png", 1, "image is not in the table of labels"),
    ]


def test_prepare_images_with_labels_cuts_runs_by_the_size_of_the_images(labelled, monkeypatch):
    sizes = []

    def noted(num_bytes, size):
        sizes.append(num_bytes)
        return place_bits(num_bytes, size)

    monkeypatch.setattr(pipeline, "place_bits", noted)
    write_images(labelled / "raw", per_class=3, classes=("a", "b"), shape=(64, 64))
    prepare(labelled_spec(labelled))
    packed = sum(file.stat().st_size for file in (labelled / "raw").rglob("*.png"))
    assert packed < 5 * 64 * 64 < sizes[0]
    sizes = (0, 640 << 20, 64 << 30, 1 << 50)
    assert [place_bits(each, ShardSize()) for each in sizes] == [4, 7, 12, 12]
    assert place_bits(640 << 20, ShardSize(target_bytes=32 << 20)) == 8


def test_prepare_images_with_labels_bad_ones_keep_their_row_numbers(labelled):
    write_csv(labelled / "raw/a/1.png", "no image")
    write_images(labelled / "raw", per_class=1, shape=(9, 9), classes=("b",))
    spec = labelled_spec(labelled, features={"image": {"dtype": "float32", "shape": [4, 5, 3]}})
    result = prepare(spec)
    reasons = [(row["file"], row["row"], row["reason"]) for row in quarantined(spec, result)]
    assert [(file, row) for file, row, _ in reasons] == [
        ("labels.csv", 2), ("labels.csv", 4), ("labels.csv", 6), ("b/2.png", 1),
    ]  # fmt: skip
    assert reasons[0][2].startswith("image 'a/1.png' does not decode (")
    assert reasons[1][2] == "image './b/0.png' has shape [9, 9, 3], expected [4, 5, 3]"
    assert reasons[2][2] == "has 4 cells, expected 3"
    assert result.rows_read == result.rows_kept + 4 == 7


def test_prepare_images_with_labels_that_name_none_are_quarantined(labelled):
    whole = [{"file": f"{kind}/{i}.png", "kind": kind} for kind in "ab" for i in range(3)]
    write_jsonl(labelled / "labels/one.jsonl", whole)
    write_jsonl(labelled / "labels/two.jsonl", [{"kind": "a"}])
    labels = {"format": "json", "path": "labels"}
    spec = spec_for(
        labelled, "images", "raw", labels=labels, label={"name": "kind"}, max_quarantined=0.5
    )
    assert [row["reason"] for row in quarantined(spec, prepare(spec))] == ["column 'file' is null"]


def test_prepare_images_with_labels_version_follows_the_table(labelled):
    first = prepare(labelled_spec(labelled))
    assert prepare(labelled_spec(labelled)).reused
    text = (labelled / "labels.csv").read_text()
    (labelled / "labels.csv").write_text(text.replace("a/0.png,0.5,cat", "a/0.png,0.5,dog"))
    assert prepare(labelled_spec(labelled)).version != first.version


@pytest.mark.parametrize(
    ("labels", "data", "sentence"),
    [
        ({"path": "no.csv"}, {}, r"data\.source\.labels\.path .*no\.csv does not exist"),
        ({"path": "labels.csv", "file": "img"}, {}, r"labels\.csv has no kept column 'img'"),
        (
            {"path": "labels.csv"}, {"features": {"age": {"dtype": "float32"}}},
            r"0 of the features have the shape of an image; declare one",
        ),
    ],
)  # fmt: skip
def test_prepare_images_with_wrong_labels_are_refused(labelled, labels, data, sentence):
    with pytest.raises(DataError, match=sentence):
        prepare(spec_for(labelled, "images", "raw", labels=labels, label={"name": "kind"}, **data))


# A function that yields tables

MAKER = """
import pyarrow as pa
from neighbour import SCALE

def rows(count):
    for first in range(0, count, 10):
        yield pa.table({"x": [float(SCALE * i) for i in range(first, first + 10)], "y": [1.0] * 10})

def batches():
    yield pa.record_batch({"x": [1.0], "y": [1.0]})

def words():
    yield "x"

def changing():
    yield pa.table({"x": [1]})
    yield pa.table({"x": ["a"]})

def categories():
    for words in (["a", "b"], ["c", "a"]):
        kinds = pa.array(words).dictionary_encode()
        yield pa.table({"kind": kinds, "x": [1.0, 2.0], "y": [1.0, 1.0]})

def failing():
    raise KeyError("secret.csv")
    yield

def leaving():
    raise SystemExit(3)
    yield

def nothing():
    return []
"""


@pytest.fixture
def maker(tmp_path):
    write_csv(tmp_path / "maker.py", MAKER)
    write_csv(tmp_path / "neighbour.py", "SCALE = 2\n")
    return tmp_path


def test_prepare_python_function_yields_rows(maker):
    spec = spec_for(maker, "python", "maker.py:rows", params={"count": 30})
    result = prepare(spec)
    assert xs(spec, result) == [2 * i for i in range(30)]
    assert manifest_of(spec, result).source.path.endswith("/maker.py:rows")
    assert prepare(spec).reused
    assert not prepare(spec_for(maker, "python", "maker.py:rows", params={"count": 20})).reused


def test_prepare_python_record_batches_are_tables(maker):
    assert prepare(spec_for(maker, "python", "maker.py:batches")).rows_kept == 1


def test_prepare_python_function_yields_other_categories_each_time(maker):
    spec = spec_for(maker, "python", "maker.py:categories")
    table = rows_of(spec, prepare(spec))
    assert sorted(table["kind"].to_pylist()) == ["a", "a", "b", "c"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("maker.py:words", r"maker\.py:words yields str, expected pyarrow\.Table"),
        ("maker.py:changing", r"different columns: x int64, then x string; cast them"),
        ("maker.py:failing", r"maker\.py:failing fails with KeyError: 'secret\.csv'"),
        ("maker.py:leaving", r"maker\.py:leaving fails with SystemExit: 3; mend it"),
        ("maker.py:nothing", r"maker\.py:nothing yields no table"),
        ("maker.py:other", r"maker\.py has no function 'other'"),
        ("no.py:rows", r"no\.py does not exist; check `data\.source\.path`"),
    ],
)
def test_prepare_python_function_at_fault_is_named(maker, path, sentence):
    with pytest.raises(DataError, match=sentence):
        prepare(spec_for(maker, "python", path))


# Parts of large files


def parts_of(folder, format, path, **options):
    source = spec_for(folder, format, path).data.source
    files = list_source(source, base=folder)
    units = plan_units(files, source, **options)
    read = []
    for unit in units:
        batches = list(
            read_tables(
                files.part(unit.files), source, [("n", "feature")], part=unit.part, everything=True
            )
        )
        tables = [batch.table for batch in batches if batch.table.num_rows]
        read.append((pa.concat_tables(tables) if tables else None, batches))
    return units, read


@pytest.mark.parametrize("unit_bytes", [40, 64, 100, 777])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_parts_hold_every_row_once(tmp_path, unit_bytes, newline):
    text = table_csv(100).replace("\n", newline) + "r100,25.0,100,200"
    write_csv(tmp_path / "raw.csv", text)
    units, read = parts_of(tmp_path, "csv", "raw.csv", unit_bytes=unit_bytes)
    assert len(units) == -(-len(text) // unit_bytes)
    assert [unit.continues for unit in units] == [False] + [True] * (len(units) - 1)
    numbers = [n for table, _ in read if table for n in table["n"].to_pylist()]
    assert numbers == [str(n) for n in range(101)]
    for table, _ in read:
        if table is not None:
            assert table[ORIGIN_ROW].to_pylist() == list(range(1, table.num_rows + 1))


def test_csv_file_with_quotes_is_one_part(tmp_path):
    write_csv(tmp_path / "raw.csv", 'n,y\n"1\n2",3\n' + "4,5\n" * 50)
    spec = spec_for(tmp_path, "csv", "raw.csv")
    origin = find_origin(spec.data, base=tmp_path, folder=tmp_path)
    assert [unit.part for unit in origin.units(unit_bytes=40)] == [None]


def test_csv_file_with_a_quoted_header_has_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("shardline.data.origin.UNIT_BYTES", 200)
    header, _, rows = table_csv(100).partition("\n")
    quoted = ",".join(f'"{name}"' for name in header.split(","))
    write_csv(tmp_path / "raw.csv", f"{quoted}\n{rows}")
    spec = spec_for(tmp_path, "csv", "raw.csv")
    origin = find_origin(spec.data, base=tmp_path, folder=tmp_path)
    assert len(origin.units(unit_bytes=200)) > 5
    result = prepare(spec)
    assert (result.rows_kept, result.rows_quarantined) == (100, 0)
    assert sorted(rows_of(spec, result)["n"].to_pylist()) == list(range(100))


@pytest.mark.parametrize("header", ['n,"y\nz"\n', '"n,y\n'])
def test_csv_file_whose_header_goes_on_behind_a_line_break_is_one_part(tmp_path, header):
    write_csv(tmp_path / "raw.csv", header + "4,5\n" * 50)
    origin = find_origin(spec_for(tmp_path, "csv", "raw.csv").data, base=tmp_path, folder=tmp_path)
    assert [unit.part for unit in origin.units(unit_bytes=40)] == [None]


def test_prepare_hundreds_of_tiny_files_reads_each_row_once(tmp_path):
    for number in range(400):
        write_csv(tmp_path / f"raw/{number:04d}.csv", table_csv(3, first=3 * number))
    write_csv(tmp_path / "raw/0007-empty.csv", "")
    write_csv(tmp_path / "raw/0009-header.csv", table_csv(0))
    write_csv(tmp_path / "raw/0200-ragged.csv", table_csv(1, first=5000) + "r,1\n")
    spec = spec_for(tmp_path, "csv", "raw", keep=["id"])
    result = prepare(spec)
    assert (result.rows_read, result.rows_kept) == (1202, 1201)
    expected = [*range(1200), 5000]
    assert sorted(rows_of(spec, result)["n"].to_pylist()) == expected
    (record,) = quarantined(spec, result)
    assert (record["file"], record["row"]) == ("0200-ragged.csv", 2)
    assert manifest_of(spec, result).source.num_files == 403


def test_parquet_parts_hold_every_row_group_once(tmp_path):
    import pyarrow.parquet as pq

    table = pa.table({"n": np.arange(1000), "y": np.zeros(1000)})
    pq.write_table(table, tmp_path / "raw.parquet", row_group_size=100)
    units, read = parts_of(tmp_path, "parquet", "raw.parquet", unit_bytes=4000)
    assert len(units) > 2
    assert all(isinstance(unit.part, GroupRange) for unit in units)
    assert [n for table, _ in read for n in table["n"].to_pylist()] == list(range(1000))


def test_very_many_small_files_share_units_and_a_new_one_moves_no_other(tmp_path):
    source = spec_for(tmp_path, "json", "raw").data.source

    def units(names, size=9):
        files = tuple(SourceFile(name, name, size) for name in sorted(names))
        return plan_units(SourceFiles("file:///raw", Store("file:///raw"), files), source)

    names = [f"{number:05d}.jsonl" for number in range(5000)]
    before = units(names)
    assert 100 < len(before) < 300
    assert [file.name for unit in before for file in unit.files] == names
    after = units([*names, "02000-new.jsonl"])
    assert len(set(after) - set(before)) <= 2
    assert all(len(unit.files) == 1 for unit in units(names[:200]))
    images = units(names, size=2 << 20)
    assert 150 < len(images) < 500
    assert len(set(units([*names, "02000-new.jsonl"], size=2 << 20)) - set(images)) <= 3
    assert len(units(names, size=8 << 20)) == len(names)


def test_prepare_parts_of_a_file_count_rows_from_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr("shardline.data.origin.UNIT_BYTES", 100)
    lines = table_csv(100).splitlines()
    lines[60] = "r59,bad,59,118"
    lines[90] += ",surplus"
    write_csv(tmp_path / "raw.csv", "\n".join(lines))
    spec = spec_for(tmp_path, "csv", "raw.csv", features={"x": {"dtype": "float32"}})
    result = prepare(spec)
    assert result.rows_kept == 98
    assert [row["row"] for row in quarantined(spec, result)] == [60, 90]


def test_prepare_parts_and_whole_files_give_the_same_bytes(tmp_path, monkeypatch):
    write_csv(tmp_path / "raw.csv", table_csv(300))
    spec = spec_for(tmp_path, "csv", "raw.csv", store="one", keep=["id"])
    first = manifest_of(spec, prepare(spec))
    monkeypatch.setattr("shardline.data.origin.UNIT_BYTES", 500)
    other = spec_for(tmp_path, "csv", "raw.csv", store="two", keep=["id"])
    second = manifest_of(other, prepare(other))
    assert first == second
