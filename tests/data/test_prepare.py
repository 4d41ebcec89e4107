from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
from tests.data.preparing import manifest_of, prepare, quarantined, rows_of
from tests.raw_sources import (
    SPLIT,
    spec_for,
    table_csv,
    upload,
    write_csv,
    write_images,
    write_jsonl,
    write_parquet,
)

from shardline.data.manifest import MARKER_NAME, dataset_versions
from shardline.data.reading import column_to_numpy
from shardline.data.shards import ShardSize
from shardline.errors import DataError
from shardline.store import Store

SMALL = ShardSize(target_bytes=400, group_bytes=200)


class Recorder:
    def __init__(self):
        self.reports = []

    def update(self, *, done, total, note=""):
        self.reports.append((done, total))


def test_prepare_images_gives_tensors_class_indices_and_paths(tmp_path):
    write_images(tmp_path / "raw")
    spec = spec_for(
        tmp_path, "images", "raw", label={"name": "class"},
        split={"key": "path", "fractions": SPLIT},
        features={"pixels": {"dtype": "uint8", "shape": [4, 5, 1]}},
    )  # fmt: skip
    progress = Recorder()
    result = prepare(spec, progress=progress)
    assert (result.rows_read, result.rows_kept, result.rows_quarantined) == (18, 18, 0)
    assert result.quarantine is None
    assert progress.reports[-1] == (18, 18)
    manifest = manifest_of(spec, result)
    assert manifest.columns.label.vocabulary == ("ant", "cat", "dog")
    assert manifest.columns.carried == ("path",)
    table = rows_of(spec, result)
    pixels = column_to_numpy(table["pixels"], manifest.columns.feature("pixels"))
    assert pixels.shape == (18, 4, 5, 1)
    assert pixels.dtype == np.uint8
    folders = {"cat": 0, "dog": 10, "ant": 20}
    for path, index, image in zip(
        table["path"].to_pylist(), table["class"].to_pylist(), pixels, strict=True
    ):
        name, number = path.removesuffix(".png").split("/")
        assert manifest.columns.label.vocabulary[index] == name
        assert np.all(image == folders[name] + int(number))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_prepare_images_converts_to_the_declared_channels(tmp_path, channels, mode):
    write_images(tmp_path / "raw", per_class=1)
    spec = spec_for(
        tmp_path, "images", "raw", label={"name": "class"},
        features={"image": {"dtype": "float32", "shape": [4, 5, channels]}},
    )  # fmt: skip
    result = prepare(spec)
    column = manifest_of(spec, result).columns.feature("image")
    images = column_to_numpy(rows_of(spec, result)["image"], column)
    assert images.shape == (3, 4, 5, channels)
    assert images.dtype == np.float32
    assert sorted(images[:, 0, 0, 0]) == [0, 10, 20]
    if mode == "RGBA":
        assert np.all(images[..., 3] == 255)


def test_prepare_images_undeclared_takes_the_first_image_that_decodes(tmp_path):
    write_images(tmp_path / "raw", per_class=20)
    write_csv(tmp_path / "raw/ant/00.png", "no image")
    result = prepare(spec_for(tmp_path, "images", "raw", label={"name": "class"}))
    column = manifest_of(spec_for(tmp_path, "images", "raw", label={"name": "class"}), result)
    assert column.columns.feature("image").shape == (4, 5, 1)
    assert result.rows_quarantined == 1


def test_prepare_images_odd_ones_are_quarantined_with_their_reasons(tmp_path):
    write_images(tmp_path / "raw", per_class=40)
    write_csv(tmp_path / "raw/cat/broken.png", "no image at all")
    write_images(tmp_path / "raw", per_class=1, shape=(7, 5), classes=["dog"])
    whole = (tmp_path / "raw/ant/1.png").read_bytes()
    write_csv(tmp_path / "raw/ant/1.png", whole[: len(whole) // 2])
    write_csv(tmp_path / "raw/loose.png", whole)
    spec = spec_for(
        tmp_path, "images", "raw", label={"name": "class"},
        features={"image": {"dtype": "uint8", "shape": [4, 5, 1]}},
    )  # fmt: skip
    result = prepare(spec)
    assert (result.rows_read, result.rows_kept, result.rows_quarantined) == (122, 118, 4)
    assert result.quarantine == f"{result.uri}/quarantine/rows.jsonl"
    rows = quarantined(spec, result)
    assert [row["file"] for row in rows] == [
        "ant/1.png", "cat/broken.png", "dog/0.png", "loose.png",
    ]  # fmt: skip
    assert "does not decode" in rows[0]["reason"]
    assert "does not decode (it is no image that Pillow knows)" in rows[1]["reason"]
    assert rows[2]["reason"] == "image has shape [7, 5, 1], expected [4, 5, 1]"
    assert rows[3]["reason"] == "image lies in no class folder"


def test_prepare_csv_infers_types_and_carries_the_key(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(50))
    write_csv(tmp_path / "raw/b.csv", table_csv(50, first=50))
    spec = spec_for(tmp_path, "csv", "raw", split={"key": "id", "fractions": SPLIT})
    result = prepare(spec)
    assert result.rows_kept == sum(result.splits.values()) == 100
    columns = manifest_of(spec, result).columns
    assert [(c.name, c.dtype) for c in columns.features] == [("x", "float64"), ("n", "int64")]
    assert (columns.label.dtype, columns.label.vocabulary) == ("float32", None)
    assert columns.carried == ("id",)
    table = rows_of(spec, result).sort_by("n")
    assert table["n"].to_pylist() == list(range(100))
    assert table["x"].to_pylist() == [i / 4 for i in range(100)]
    assert table["y"].to_pylist() == [i * 2 for i in range(100)]
    assert table["id"].to_pylist() == [f"r{i}" for i in range(100)]


def test_prepare_csv_bad_rows_are_quarantined_by_their_number(tmp_path):
    lines = table_csv(200).splitlines()
    lines[3] = "r2,abc,2,4"
    lines[5] = "r4,1.0,2,4,surplus"
    lines[7] = "r6,,6,12"
    lines[9] = "r8,2.0,8,"
    lines[11] = "r10,nan,10,20"
    lines[13] = "r12,3.0,12.5,24"
    data = ("\n".join(lines) + "\n").encode().replace(b"r14,", b"\xff\xfe,")
    write_csv(tmp_path / "raw.csv", data)
    spec = spec_for(
        tmp_path, "csv", "raw.csv", keep=["id"],
        features={"x": {"dtype": "float32"}, "n": {"dtype": "int32"}},
    )  # fmt: skip
    result = prepare(spec)
    assert (result.rows_read, result.rows_kept, result.rows_quarantined) == (200, 193, 7)
    assert [(row["row"], row["reason"]) for row in quarantined(spec, result)] == [
        (3, "feature 'x' is 'abc', expected finite float32"),
        (5, "has 5 cells, expected 4"),
        (7, "feature 'x' is null"),
        (9, "label 'y' is null"),
        (11, "feature 'x' is 'nan', expected finite float32"),
        (13, "feature 'n' is '12.5', expected int32"),
        (15, "column 'id' is not valid UTF-8"),
    ]
    assert {row["file"] for row in quarantined(spec, result)} == {"raw.csv"}


def test_prepare_csv_text_label_becomes_a_sorted_vocabulary(tmp_path):
    write_csv(tmp_path / "raw.csv", "x;y\n1;plum\n2;apple\n3;fig\n4;apple\n")
    spec = spec_for(tmp_path, "csv", "raw.csv", delimiter=";", label={"name": "y"})
    result = prepare(spec)
    assert manifest_of(spec, result).columns.label.vocabulary == ("apple", "fig", "plum")
    table = rows_of(spec, result).sort_by("x")
    assert table["y"].to_pylist() == [2, 0, 1, 0]
    assert table.schema.field("y").type == pa.int64()


def test_prepare_csv_label_of_digits_is_a_number(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,y\n1,7\n2,5.0\n3,7\n")
    spec = spec_for(tmp_path, "csv", "raw.csv", label={"name": "y"})
    result = prepare(spec)
    assert manifest_of(spec, result).columns.label.vocabulary is None
    assert rows_of(spec, result).sort_by("x")["y"].to_pylist() == [7, 5, 7]


def test_prepare_csv_decimal_target_declared_integer_names_the_values(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,y\n1,33.8\n2,35.6\n")
    spec = spec_for(tmp_path, "csv", "raw.csv", label={"name": "y"})
    with pytest.raises(DataError, match=r"row 1: label 'y' is '33.8', expected int64"):
        prepare(spec)


def test_prepare_parquet_keeps_types_and_lists(tmp_path):
    write_parquet(
        tmp_path / "raw/part.parquet",
        flat=pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], pa.list_(pa.int16())),
        nested=pa.array([[[1.0, 2.0]], [[3.0, 4.0]]]),
        flag=pa.array([True, False]),
        word=pa.array(["a", "b"]).dictionary_encode(),
        y=pa.array([0.5, 1.5]),
    )
    result = prepare(spec := spec_for(tmp_path, "parquet", "raw/*.parquet"))
    features = manifest_of(spec, result).columns.features
    assert [(c.name, c.dtype, c.shape) for c in features] == [
        ("flat", "int16", (4,)),
        ("nested", "float64", (1, 2)),
        ("flag", "bool", ()),
        ("word", "string", ()),
    ]
    table = rows_of(spec, result).sort_by("y")
    assert column_to_numpy(table["nested"], features[1]).tolist() == [[[1, 2]], [[3, 4]]]
    assert column_to_numpy(table["flat"], features[0]).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert table["word"].to_pylist() == ["a", "b"]


def test_prepare_parquet_lists_of_other_lengths_are_quarantined(tmp_path):
    lists = [[1.0, 2.0, 3.0, 4.0]] * 100
    lists[10], lists[20], lists[30] = [1.0, 2.0], None, [1.0, None, 3.0, 4.0]
    write_parquet(tmp_path / "raw.parquet", v=pa.array(lists), y=pa.array(range(100)))
    spec = spec_for(
        tmp_path, "parquet", "raw.parquet", features={"v": {"dtype": "float32", "shape": [2, 2]}}
    )
    result = prepare(spec)
    assert [(row["row"], row["reason"]) for row in quarantined(spec, result)] == [
        (11, "feature 'v' has shape [2], expected [2, 2]"),
        (21, "feature 'v' is null"),
        (31, "feature 'v' has an element that is null or no finite float32"),
    ]
    column = manifest_of(spec, result).columns.feature("v")
    assert column_to_numpy(rows_of(spec, result)["v"], column).shape == (97, 2, 2)


def test_prepare_parquet_of_fixed_shape_tensors_reads_its_own_output(tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1)
    write_parquet(
        tmp_path / "raw.parquet",
        image=pa.FixedShapeTensorArray.from_numpy_ndarray(images),
        y=pa.array([0.0, 1.0]),
    )
    result = prepare(spec := spec_for(tmp_path, "parquet", "raw.parquet"))
    column = manifest_of(spec, result).columns.feature("image")
    assert (column.dtype, column.shape) == ("uint8", (3, 4, 1))
    table = rows_of(spec, result).sort_by("y")
    np.testing.assert_array_equal(column_to_numpy(table["image"], column), images)


def test_prepare_numbers_that_would_lose_precision_are_quarantined(tmp_path):
    write_parquet(
        tmp_path / "raw.parquet",
        big=pa.array([1, 2**24 + 1, 3]),
        frac=pa.array([1.0, 2.0, 2.5]),
        y=pa.array([0.0, 1.0, 2.0]),
    )
    spec = spec_for(
        tmp_path, "parquet", "raw.parquet", max_quarantined=1.0,
        features={"big": {"dtype": "float32"}, "frac": {"dtype": "int8"}},
    )  # fmt: skip
    result = prepare(spec)
    assert result.rows_kept == 1
    assert [row["reason"] for row in quarantined(spec, result)] == [
        "feature 'big' is 16777217, expected finite float32",
        "feature 'frac' is 2.5, expected int8",
    ]


def test_prepare_json_lines_missing_fields_and_broken_lines_are_quarantined(tmp_path):
    rows = [{"id": i, "when": "2020-01-01", "v": [i, i + 0.5], "y": i} for i in range(100)]
    rows[3] = '{"id": 3, "v": [1,'
    rows[5] = {"id": 5, "when": "2020-01-01", "y": 5}
    rows[7] = '["no", "object"]'
    rows[9] = {"id": 9, "when": "2020-01-01", "v": "text", "y": 9}
    write_jsonl(tmp_path / "raw.jsonl", rows)
    spec = spec_for(
        tmp_path, "json", "raw.jsonl", keep=["id", "when"],
        features={"v": {"dtype": "float32", "shape": [2]}},
    )  # fmt: skip
    result = prepare(spec)
    assert (result.rows_read, result.rows_kept, result.rows_quarantined) == (100, 96, 4)
    found = quarantined(spec, result)
    assert [row["row"] for row in found] == [4, 6, 8, 10]
    assert found[0]["reason"].startswith("is not valid JSON")
    assert found[1]["reason"] == "feature 'v' is null"
    assert found[2]["reason"] == "is list, expected a JSON object"
    assert found[3]["reason"] == "field 'v' is 'text', most rows hold list<item: double>"
    table = rows_of(spec, result)
    assert set(table["when"].to_pylist()) == {"2020-01-01"}
    assert sorted(map(int, table["id"].to_pylist()))[:4] == [0, 1, 2, 4]


def test_prepare_json_lines_clean_file_infers_everything(tmp_path):
    write_jsonl(
        tmp_path / "raw.jsonl",
        [{"a": i, "s": f"w{i % 3}", "l": [i] * 3, "y": ["no", "yes"][i % 2]} for i in range(10)],
    )
    spec = spec_for(tmp_path, "json", "raw.jsonl", label={"name": "y"})
    columns = manifest_of(spec, prepare(spec)).columns
    assert [(c.name, c.dtype, c.shape) for c in columns.features] == [
        ("a", "int64", ()), ("s", "string", ()), ("l", "int64", (3,)),
    ]  # fmt: skip
    assert columns.label.vocabulary == ("no", "yes")


def test_prepare_json_array_is_refused_with_the_way_out(tmp_path):
    write_csv(tmp_path / "raw.json", '[{"x": 1, "y": 2}]')
    with pytest.raises(DataError, match=r"raw.json is a JSON array, expected JSON lines"):
        prepare(spec_for(tmp_path, "json", "raw.json"))


def test_prepare_twice_reuses_the_version(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(40))
    spec = spec_for(tmp_path, "csv", "raw.csv", keep=["id"])
    first = prepare(spec)
    marker = tmp_path / f"store/datasets/sample/{first.version}" / MARKER_NAME
    before = marker.stat().st_mtime_ns
    second = prepare(spec)
    assert not first.reused
    assert asdict(second) == {**asdict(first), "reused": True}
    assert marker.stat().st_mtime_ns == before


def test_prepare_moved_source_has_the_same_version(tmp_path):
    write_csv(tmp_path / "one/raw.csv", table_csv(40))
    write_csv(tmp_path / "two/raw.csv", table_csv(40))
    first = prepare(spec_for(tmp_path, "csv", "one"))
    assert prepare(spec_for(tmp_path, "csv", "two")).reused
    write_csv(tmp_path / "two/more.csv", table_csv(1, first=90))
    third = prepare(spec_for(tmp_path, "csv", "two"))
    assert third.version != first.version
    assert not third.reused


def test_prepare_same_input_gives_the_same_bytes(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(300))
    stored = []
    for name in ("one", "two"):
        store = Store(f"file://{tmp_path}/{name}")
        spec = spec_for(tmp_path, "csv", "raw", split={"fractions": SPLIT})
        prepare(spec, store=store, size=SMALL)
        stored.append({e.key: store.read(e.key) for e in store.scan("datasets/")})
    assert len(stored[0]) > 10
    assert stored[0] == stored[1]


def test_prepare_order_of_rows_in_the_source_does_not_matter(tmp_path):
    header, *lines = table_csv(300).splitlines()
    shards = []
    for name, order in (("one", lines), ("two", lines[::-1])):
        write_csv(tmp_path / name / "raw.csv", "\n".join([header, *order]))
        spec = spec_for(tmp_path, "csv", name, split={"fractions": SPLIT})
        manifest = manifest_of(spec, prepare(spec, size=SMALL))
        shards.append({n: [s.sha256 for s in split.shards] for n, split in manifest.splits.items()})
    assert shards[0] == shards[1]


def test_prepare_small_target_makes_many_bounded_shards(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(500))
    spec = spec_for(tmp_path, "csv", "raw.csv", keep=["id"])
    manifest = manifest_of(spec, prepare(spec, size=SMALL))
    train = manifest.split("train")
    assert len(train.shards) > 20
    assert train.rows == sum(s.rows for s in train.shards) == 500
    assert all(sum(s.row_groups) == s.rows for s in train.shards)
    sizes = [s.rows for s in train.shards]
    assert max(sizes) - min(sizes) <= 1
    assert [s.key for s in train.shards][:2] == [
        "train/part-00000.parquet", "train/part-00001.parquet",
    ]  # fmt: skip


def test_prepare_statistics_describe_the_train_split_alone(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(500))
    spec = spec_for(tmp_path, "csv", "raw.csv", split={"key": "id", "fractions": SPLIT})
    result = prepare(spec, size=SMALL)
    values = np.array(rows_of(spec, result, splits=["train"])["x"])
    found = manifest_of(spec, result).statistics["x"]
    assert found.count == len(values) == result.splits["train"] < 500
    assert found.nulls == 0
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.variance == pytest.approx(values.var(), rel=1e-12)
    assert (found.min, found.max) == (values.min(), values.max())


def test_prepare_split_has_rows_on_every_side_and_empty_ones_are_listed(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(3))
    spec = spec_for(tmp_path, "csv", "raw.csv", split={"fractions": {"train": 0.99, "test": 0.01}})
    assert prepare(spec).splits == {"train": 3, "test": 0}


def test_prepare_duplicate_rows_are_all_kept(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,y\n" + "1,2\n" * 50)
    result = prepare(spec_for(tmp_path, "csv", "raw.csv"), size=SMALL)
    assert result.rows_kept == 50


def test_prepare_null_in_a_kept_column_is_carried_but_not_in_the_key(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,k,y\n1,a,1\n2,,2\n3,c,3\n")
    spec = spec_for(tmp_path, "csv", "raw.csv", keep=["k"], max_quarantined=0.5)
    assert rows_of(spec, prepare(spec)).sort_by("x")["k"].to_pylist() == ["a", None, "c"]
    keyed = spec_for(
        tmp_path, "csv", "raw.csv", max_quarantined=0.5,
        split={"key": "k", "fractions": {"train": 1.0}},
    )  # fmt: skip
    result = prepare(keyed)
    assert [row["reason"] for row in quarantined(keyed, result)] == ["key 'k' is null"]


def test_prepare_feature_as_split_key_stays_a_feature(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(60))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", features={"n": {"dtype": "int64"}},
        split={"key": "n", "fractions": SPLIT},
    )  # fmt: skip
    result = prepare(spec)
    assert manifest_of(spec, result).columns.carried == ()
    assert sorted(rows_of(spec, result)["n"].to_pylist()) == list(range(60))


def test_prepare_s3_source_into_s3_store(tmp_path, s3_store):
    write_images(tmp_path / "raw")
    upload(s3_store, tmp_path / "raw", "raw")
    spec = spec_for(
        tmp_path, "images", f"{s3_store.uri}/raw", store=s3_store.uri, label={"name": "class"}
    )
    local = spec_for(tmp_path, "images", "raw", label={"name": "class"})
    result = prepare(spec, store=s3_store)
    assert result.uri == f"{s3_store.uri}/datasets/sample/{result.version}"
    assert result.version == prepare(local).version
    assert rows_of(spec, result).equals(rows_of(local, result))
    assert prepare(spec, store=s3_store).reused
    assert dataset_versions(s3_store, "sample") == [result.version]


@pytest.mark.parametrize("path", ["tables", "tables/*.csv", "tables/a.csv"])
def test_prepare_s3_tables_by_folder_glob_and_file(tmp_path, s3_store, path):
    write_csv(tmp_path / "tables/a.csv", table_csv(30))
    upload(s3_store, tmp_path / "tables", "tables")
    spec = spec_for(tmp_path, "csv", f"{s3_store.uri}/{path}", store=s3_store.uri)
    assert prepare(spec, store=s3_store).rows_kept == 30
