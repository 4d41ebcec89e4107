"""Columns are found, written down, and later data has to agree with them."""

import pytest
import yaml
from click.testing import CliRunner
from tests.data.preparing import manifest_of, prepare, quarantined
from tests.raw_sources import spec_for, table_csv, write_csv, write_images

from shardline.cli import commands
from shardline.data.manifest import dataset_versions, make_current
from shardline.data.pinned import pinned_columns
from shardline.errors import DataError
from shardline.spec.data import DataSpec
from shardline.store import Store


def test_pinned_columns_are_a_spec_that_prepares_the_same_columns(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(50))
    spec = spec_for(
        tmp_path, "csv", "raw.csv", cleaning={"x": {"missing": {"by": "mean", "indicator": True}}}
    )
    found = manifest_of(spec, prepare(spec)).columns
    values = yaml.safe_load(pinned_columns(found))["data"]
    assert values == {
        "features": {
            "id": {"dtype": "string"}, "x": {"dtype": "float64"}, "n": {"dtype": "int64"},
        },
        "label": {"name": "y", "dtype": "float32"},
    }  # fmt: skip
    cleaning = {"x": {"missing": {"by": "mean", "indicator": True}}}
    pinned = spec_for(tmp_path, "csv", "raw.csv", cleaning=cleaning, **values)
    assert manifest_of(pinned, prepare(pinned)).columns == found


def test_pinned_columns_have_shapes(tmp_path):
    write_images(tmp_path / "raw")
    spec = spec_for(tmp_path, "images", "raw", label={"name": "class"})
    values = yaml.safe_load(pinned_columns(manifest_of(spec, prepare(spec)).columns))["data"]
    assert values["features"] == {"image": {"dtype": "uint8", "shape": [4, 5, 1]}}
    assert DataSpec.model_validate(values | {"source": {"format": "images", "path": "raw"}})


def test_datasets_pin_writes_the_columns(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(50))
    spec = spec_for(tmp_path, "csv", "raw.csv")
    result = prepare(spec)
    make_current(Store(spec.store), result.dataset, result.version)
    file = tmp_path / "columns.yaml"
    store = ["--store", str(tmp_path / "store")]
    done = CliRunner().invoke(commands, ["datasets", "sample", *store, "--pin", str(file)])
    assert done.exit_code == 0, done.output
    assert file.read_text().startswith("data:\n  features:\n    id:\n      dtype: string\n")
    assert CliRunner().invoke(commands, ["datasets", *store, "--pin", str(file)]).exit_code == 2
    missing = str(tmp_path / "no/columns.yaml")
    done = CliRunner().invoke(commands, ["datasets", "sample", *store, "--pin", missing])
    assert done.exit_code == 2
    assert "cannot be written: No such file or directory." in done.output


PINNED = {"features": {"x": {"dtype": "float32"}, "n": {"dtype": "int64"}}}


def test_prepare_later_data_that_disagrees_is_quarantined_or_stops(tmp_path):
    write_csv(tmp_path / "raw/a.csv", table_csv(100))
    write_csv(tmp_path / "raw/b.csv", "id,x,n,y\nr1,1.5,many,3\nr2,2.5,7,3\n")
    spec = spec_for(tmp_path, "csv", "raw", **PINNED)
    result = prepare(spec)
    assert quarantined(spec, result) == [
        {"reason": "feature 'n' is 'many', expected int64", "file": "b.csv", "row": 1}
    ]
    strict = spec_for(tmp_path, "csv", "raw", store="strict", mismatch="stop", **PINNED)
    with pytest.raises(
        DataError,
        match=r"^b\.csv row 1: feature 'n' is 'many', expected int64; mend the source or the spec, "
        r"or set data\.mismatch to quarantine \(1 such rows so far\)\.$",
    ):
        prepare(strict)
    assert dataset_versions(Store(strict.store), "sample") == []


def test_prepare_rows_that_rules_set_aside_do_not_stop(tmp_path):
    write_csv(tmp_path / "raw.csv", table_csv(100) * 2)
    text = table_csv(100)
    write_csv(tmp_path / "raw.csv", text + text.partition("\n")[2])
    spec = spec_for(tmp_path, "csv", "raw.csv", mismatch="stop", duplicates={}, **PINNED)
    assert prepare(spec).rows_kept == 100
