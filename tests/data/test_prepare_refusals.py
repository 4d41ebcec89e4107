import datetime

import pyarrow as pa
import pytest
from tests.data.preparing import prepare
from tests.raw_sources import (
    spec_for,
    table_csv,
    write_csv,
    write_images,
    write_jsonl,
    write_parquet,
)

from shardline.data.manifest import dataset_versions, load_dataset
from shardline.data.shards import ShardSize
from shardline.errors import DataError, NotFoundError, SpecError, StoreUnavailableError
from shardline.store import Store


def refused(spec, sentence):
    """The source is refused with this sentence, and nothing of a dataset is left behind."""
    with pytest.raises(DataError, match=sentence) as caught:
        prepare(spec)
    assert caught.value.exit_code == 2
    assert dataset_versions(Store(spec.store), spec.name) == []


@pytest.mark.parametrize("format", ["images", "csv", "parquet", "json"])
def test_prepare_missing_source_is_refused_by_its_path(tmp_path, format):
    refused(
        spec_for(tmp_path, format, "nowhere/raw"),
        rf"data\.source\.path {tmp_path}/nowhere/raw does not exist",
    )


def test_prepare_missing_s3_source_is_refused_by_its_uri(tmp_path, s3_store):
    refused(
        spec_for(tmp_path, "csv", f"{s3_store.uri}/nowhere"),
        rf"data\.source\.path {s3_store.uri}/nowhere does not exist",
    )


def test_prepare_source_below_a_file_does_not_exist(tmp_path):
    write_csv(tmp_path / "file", "")
    refused(spec_for(tmp_path, "csv", "file/raw.csv"), r"file/raw\.csv does not exist")


@pytest.mark.parametrize(
    ("format", "kinds"),
    [("images", r"\.png"), ("csv", r"\.csv"), ("parquet", r"\.parquet"), ("json", r"\.jsonl")],
)
def test_prepare_folder_without_files_of_the_format_names_what_it_looked_for(
    tmp_path, format, kinds
):
    write_csv(tmp_path / "raw/notes.md", "nothing here")
    refused(spec_for(tmp_path, format, "raw"), rf"has nothing to read: no {kinds}.* file")


def test_prepare_glob_without_a_match_is_refused(tmp_path):
    write_csv(tmp_path / "raw/a.csv", "x,y\n1,2\n")
    refused(spec_for(tmp_path, "csv", "raw/b*.csv"), r"no file matches 'b\*\.csv'")


def test_prepare_image_source_that_is_a_file_is_refused(tmp_path):
    write_images(tmp_path / "raw", per_class=1)
    refused(spec_for(tmp_path, "images", "raw/ant/0.png"), "is a file; images need a folder")


@pytest.mark.parametrize("text", ["", "x,y\n"])
def test_prepare_csv_without_rows_is_refused(tmp_path, text):
    write_csv(tmp_path / "raw.csv", text)
    refused(spec_for(tmp_path, "csv", "raw.csv"), r"raw\.csv holds no rows")


def test_prepare_parquet_and_json_without_rows_are_refused(tmp_path):
    write_parquet(tmp_path / "raw.parquet", x=pa.array([], pa.float32()), y=pa.array([], pa.int8()))
    refused(spec_for(tmp_path, "parquet", "raw.parquet"), r"raw\.parquet holds no rows")
    write_csv(tmp_path / "raw.jsonl", "\n\n")
    refused(spec_for(tmp_path, "json", "raw.jsonl"), r"raw\.jsonl holds no rows")


@pytest.mark.parametrize("format", ["csv", "parquet", "json"])
def test_prepare_missing_label_column_names_columns_and_the_nearest(tmp_path, format):
    write_csv(tmp_path / "raw/a.csv", "x,target\n1,2\n")
    write_parquet(tmp_path / "raw/a.parquet", x=[1], target=[2])
    write_jsonl(tmp_path / "raw/a.jsonl", [{"x": 1, "target": 2}])
    refused(
        spec_for(tmp_path, format, "raw", label={"name": "targte"}),
        r"has no label 'targte'; its columns are x, target, did you mean 'target'\?",
    )


def test_prepare_label_column_missing_from_one_file_names_the_file(tmp_path):
    write_csv(tmp_path / "raw/a.csv", "x,y\n1,2\n")
    write_csv(tmp_path / "raw/b.csv", "x,z\n1,2\n")
    refused(spec_for(tmp_path, "csv", "raw"), r"b\.csv has no label 'y'; its columns are x, z\.")


def test_prepare_label_null_throughout_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,y\n1,\n2,\n")
    refused(spec_for(tmp_path, "csv", "raw.csv"), "label column 'y' is null in all 2 rows")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"features": {"z": {"dtype": "float32"}}}, "has no feature 'z'; its columns are x, y"),
        ({"keep": ["idd"]}, "has no kept column 'idd'"),
        ({"split": {"key": "idd", "fractions": {"train": 1.0}}}, "has no key 'idd'"),
    ],
)
def test_prepare_declared_column_that_the_source_lacks_is_refused(tmp_path, data, sentence):
    write_csv(tmp_path / "raw.csv", "x,y\n1,2\n")
    refused(spec_for(tmp_path, "csv", "raw.csv", **data), sentence)


def test_prepare_too_many_bad_rows_names_counts_and_the_first_offenders(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,y\n1,2\n,2\n3,4\nabc,5\n5,6\n6,\n7,8\n")
    refused(
        spec_for(tmp_path, "csv", "raw.csv", features={"x": {"dtype": "float32"}}),
        r"3 of 7 rows cannot be used, more than data\.max_quarantined = 0\.05 allows; the first: "
        r"raw\.csv row 2: feature 'x' is null; "
        r"raw\.csv row 4: feature 'x' is 'abc', expected finite float32; "
        r"raw\.csv row 6: label 'y' is null",
    )


def test_prepare_all_rows_bad_is_refused_even_when_all_may_be(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,y\nabc,1\ndef,2\n")
    refused(
        spec_for(
            tmp_path, "csv", "raw.csv", features={"x": {"dtype": "int8"}}, max_quarantined=1.0
        ),
        r"none of the 2 rows in .*raw\.csv can be used; the first: raw\.csv row 1: feature 'x'",
    )


def test_prepare_json_without_one_valid_line_is_refused(tmp_path):
    write_jsonl(tmp_path / "raw.jsonl", ["{", "}"])
    refused(spec_for(tmp_path, "json", "raw.jsonl"), r"none of the 2 rows .* is not valid JSON")


def test_prepare_images_none_of_which_decodes_is_refused(tmp_path):
    write_csv(tmp_path / "raw/cat/a.png", "no image")
    refused(
        spec_for(tmp_path, "images", "raw", label={"name": "class"}),
        r"none of the 1 images in .* decodes: cat/a\.png does not decode",
    )


def test_prepare_split_that_leaves_nothing_to_train_on_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(2))
    fractions = {"train": 0.000001, "test": 0.999999}
    refused(
        spec_for(tmp_path, "csv", "raw.csv", split={"key": "id", "fractions": fractions}),
        "none of the 2 rows falls into the train split",
    )


def test_prepare_unsupported_column_types_are_refused_by_name(tmp_path):
    when, clock = [datetime.datetime(2020, 1, 1)], [datetime.time(12)]
    write_parquet(tmp_path / "raw.parquet", when=when, clock=clock, x=[1.0], y=[1.0])
    refused(
        spec_for(tmp_path, "parquet", "raw.parquet"),
        r"feature 'clock' holds time64\[us\], which no model takes; list the columns",
    )
    refused(
        spec_for(tmp_path, "parquet", "raw.parquet", features={"when": {"dtype": "float32"}}),
        r"feature 'when' holds timestamp\[us\], which cannot become float32; declare dtype: timest",
    )
    refused(
        spec_for(
            tmp_path, "parquet", "raw.parquet", features={"x": {"dtype": "float32", "shape": [2]}}
        ),
        r"feature 'x' holds double, which cannot become float32 of shape \[2\]",
    )


def test_prepare_damaged_parquet_is_refused_by_its_name(tmp_path):
    file = write_parquet(tmp_path / "raw.parquet", x=[1.0], y=[1.0])
    file.write_bytes(file.read_bytes()[:-6])
    refused(spec_for(tmp_path, "parquet", "raw.parquet"), r"cannot read .*raw\.parquet: ")


def test_prepare_csv_with_twin_columns_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,x,y\n1,2,3\n")
    refused(spec_for(tmp_path, "csv", "raw.csv"), "has several columns 'x'; rename all but one")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"features": {"a": {"dtype": "uint8"}, "b": {"dtype": "uint8"}}}, "images make one"),
        ({"features": {"a": {"dtype": "uint8"}}}, r"feature 'a' is uint8 of shape \[\]; images"),
        ({"features": {"a": {"dtype": "uint8", "shape": [4, 5, 2]}}}, r"of shape \[4, 5, 2\]"),
        ({"features": {"path": {"dtype": "uint8", "shape": [4, 5, 1]}}}, "'path' holds each image"),
        ({"label": {"name": "image"}}, "feature and label are both named 'image'"),
        ({"split": {"key": "id", "fractions": {"train": 1.0}}}, "an image source has no key 'id'"),
    ],
)
def test_prepare_images_impossible_declarations_are_refused(tmp_path, data, sentence):
    write_images(tmp_path / "raw", per_class=1)
    refused(spec_for(tmp_path, "images", "raw", **data), sentence)


def test_prepare_more_classes_than_the_label_dtype_counts_is_refused(tmp_path):
    write_csv(tmp_path / "raw.csv", "x,y\n" + "".join(f"{i},c{i}\n" for i in range(129)))
    refused(
        spec_for(tmp_path, "csv", "raw.csv", label={"name": "y", "dtype": "int8"}),
        "label 'y' has 129 classes, too many for int8",
    )


def test_source_with_an_unknown_scheme_is_refused(tmp_path):
    with pytest.raises(SpecError, match="has scheme 'gs'"):
        spec_for(tmp_path, "csv", "gs://bucket/raw")


class Dying:
    """A store whose k-th write fails, as if the process had been killed there."""

    def __init__(self, store, writes_left):
        self._store = store
        self.writes_left = writes_left

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write(self, key, data, **checks):
        self._spend()
        self._store.write(key, data, **checks)

    def put_if_absent(self, key, data):
        self._spend()
        return self._store.put_if_absent(key, data)

    def _spend(self):
        if not self.writes_left:
            raise StoreUnavailableError("the store is gone")
        self.writes_left -= 1


def test_prepare_killed_at_any_write_leaves_no_dataset_and_a_rerun_completes_it(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(60) + "r60,abc,60,120\n")
    spec = spec_for(
        tmp_path, "csv", "raw.csv", features={"x": {"dtype": "float32"}},
        split={"key": "id", "fractions": {"train": 0.8, "test": 0.2}},
    )  # fmt: skip
    size = ShardSize(target_bytes=400, group_bytes=200)
    clean = Store(f"file://{tmp_path}/clean")
    whole = prepare(spec, store=clean, size=size)
    keys = [entry.key for entry in clean.scan("datasets/")]
    assert len(keys) > 4
    for writes in range(len(keys)):
        store = Store(f"file://{tmp_path}/store-{writes}")
        dying = Dying(store, writes)
        with pytest.raises(StoreUnavailableError, match="the store is gone"):
            prepare(spec, store=dying, size=size)
        assert len(list(store.scan("datasets/"))) == writes
        assert dataset_versions(store, "sample") == []
        with pytest.raises(NotFoundError, match="has no dataset 'sample'"):
            load_dataset(store, "sample", whole.version)
        again = prepare(spec, store=store, size=size)
        assert (again.version, again.reused) == (whole.version, False)
        assert {e.key: store.read(e.key) for e in store.scan("datasets/")} == {
            key: clean.read(key) for key in keys
        }


def test_prepare_racing_twin_that_commits_first_is_harmless(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(60))
    spec = spec_for(tmp_path, "csv", "raw.csv")

    class Raced(Dying):
        def put_if_absent(self, key, data):
            prepare(spec, store=self._store)
            return self._store.put_if_absent(key, data)

    store = Store(spec.store)
    result = prepare(spec, store=Raced(store, 10**6))
    assert dataset_versions(store, "sample") == [result.version]
    assert load_dataset(store, "sample", result.version).counts.rows_kept == result.rows_kept == 60
