"""`shardline datasets NAME`: what it shows, what it draws, and what it refuses."""

import json

import numpy as np
import pyarrow as pa
import pytest
from tests.sample_datasets import write_dataset

from shardline.cli import main
from shardline.data.manifest import MARKER_NAME
from shardline.data.schema import Column, Label
from shardline.data.statistics.describe import describe
from shardline.data.statistics.document import dump_statistics
from shardline.data.statistics.table import TableSketch
from shardline.store import Store, dump_marker


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def plain(store):
    """A dataset that an earlier release prepared."""
    x, y = Column(name="x", dtype="float32"), Label(name="y", dtype="int64")
    rows = {"x": np.arange(20, dtype=np.float32), "y": np.arange(20) % 2}
    return write_dataset(store, [x], y, {"train": rows})


@pytest.fixture
def dataset(store, plain):
    """The same with statistics."""
    table = pa.table({"x": np.arange(20, dtype=np.float32), "y": np.arange(20) % 2})
    sketch = TableSketch(table.schema)
    sketch.add(table, first_row=0)
    data, record = dump_statistics(describe({"train": sketch}, label="y"))
    store.write(f"{plain.folder}/{record.key}", data)
    changed = plain.model_copy(update={"statistics_file": record})
    store.write(f"{plain.folder}/{MARKER_NAME}", dump_marker(changed))
    return changed


def datasets(store, *arguments):
    return main(["datasets", *arguments, "--store", store.uri])


def test_datasets_of_one_lists_its_columns(store, dataset, capsys):
    assert datasets(store, dataset.name, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["datasets"][0]["version"] == dataset.version
    first, last = listed["columns"]
    assert (first["column"], first["mean"], first["median"], first["max"]) == ("x", 9.5, 9.0, 19.0)
    assert (first["missing"], first["distinct"], len(first["histogram"])) == (0, 20, 16)
    assert (last["note"], last["most frequent"]) == ("is the label", "0 (50%), 1 (50%)")


def test_datasets_of_one_shows_a_table(store, dataset, capsys):
    assert datasets(store, dataset.name) == 0
    shown = capsys.readouterr().out
    assert "9.5 ± 5.766, 0 to 19" in shown
    assert "0 (50%), 1 (50%)" in shown
    assert max(map(len, shown.splitlines()[-5:])) < 130


def test_datasets_html_writes_the_page_and_says_where(store, dataset, tmp_path, capsys):
    file = tmp_path / "report.html"
    assert datasets(store, dataset.name, "--html", str(file), "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["columns"]
    assert err == f"wrote {file}\n"
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_datasets_without_statistics_are_listed_and_not_drawn(store, plain, tmp_path, capsys):
    assert datasets(store, plain.name, "--json") == 0
    assert json.loads(capsys.readouterr().out).keys() == {"datasets"}
    assert datasets(store, plain.name, "--html", str(tmp_path / "page.html")) == 2
    assert "has no statistics; prepare it again" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--html", "page.html"), ("--version", "v1")])
def test_datasets_options_need_a_name(store, option, capsys):
    assert datasets(store, *option) == 2
    assert "need the NAME of a dataset." in capsys.readouterr().err


def test_datasets_unknown_version_is_named(store, dataset, capsys):
    assert datasets(store, dataset.name, "--version", "v9") == 2
    assert f"has no dataset '{dataset.name}' version 'v9'" in capsys.readouterr().err


def test_datasets_html_into_a_missing_folder_is_one_sentence(store, dataset, tmp_path, capsys):
    assert datasets(store, dataset.name, "--html", str(tmp_path / "none" / "page.html")) == 2
    assert "--html" in capsys.readouterr().err.splitlines()[-1]
