"""Listings while others write: what is not finished, or just gone, is not listed."""

import json
import math

import numpy as np
import pytest
from tests.sample_datasets import write_dataset

from shardline import inventory
from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    Cursor,
    list_checkpoints,
    write_checkpoint,
)
from shardline.artifacts.checkpoint_reading import reading
from shardline.artifacts.journal import JournalLine, dump_journal, journal_key
from shardline.cli import main
from shardline.data.schema import Column, Label
from shardline.errors import NotFoundError
from shardline.store import Store, dump_marker
from shardline.training.run import RunManifest


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def removed_when_read(monkeypatch):
    """Have another process remove keys between their listing and their reading."""
    read = Store.read

    def start(ending):
        def removed_first(store, key):
            if key.endswith(ending):
                store.delete(key)
            return read(store, key)

        monkeypatch.setattr(Store, "read", removed_first)

    return start


def write_checkpoints(store, run, *steps):
    for step in steps:
        manifest = CheckpointManifest(
            run=run,
            step=step,
            cursor=Cursor(epoch=step, step=0),
            world_size=1,
            spec_digest="s",
            dataset="d",
            dataset_version="v",
            history=(),
        )
        write_checkpoint(store, manifest, {"x": np.zeros(1, "float32")})


def write_record(store, policy):
    """`run.json` of a run with that `train.checkpoint`."""
    spec = {"train": {"checkpoint": policy}}
    record = RunManifest(run="toy", identity={}, spec=spec, code={})
    store.write("runs/toy/run.json", dump_marker(record))


def test_datasets_one_that_was_broken_off_is_not_listed(store):
    x, y = Column(name="x", dtype="float32"), Label(name="y", dtype="float32")
    values = {name: np.zeros(2, "float32") for name in "xy"}
    dataset = write_dataset(store, [x], y, {"train": values})
    store.write("datasets/broken-off/v1/train/part-00000.parquet", b"")
    listed = inventory.datasets(store.uri, None)
    assert [row["dataset"] for row in listed] == [dataset.name]
    with pytest.raises(NotFoundError, match="has no dataset 'broken-off'"):
        inventory.datasets(store.uri, "broken-off")


def test_runs_one_that_goes_while_it_is_read_is_not_listed(store, removed_when_read):
    write_checkpoints(store, "going", 1)
    write_checkpoints(store, "staying", 1, 2)
    removed_when_read("runs/going/checkpoints/step-00000001/checkpoint.json")
    listed = inventory.runs(store.uri, None)
    assert [(row["run"], row["step"]) for row in listed] == [("staying", 2)]


def test_run_lists_checkpoints_with_metrics_size_and_the_best(store):
    for epoch, loss in enumerate((3.0, 1.0, 2.0)):
        history = ({"epoch": epoch, "val_loss": loss},)
        manifest = CheckpointManifest(
            run="toy", step=epoch + 1, cursor=Cursor(epoch=epoch + 1, step=0), world_size=1,
            spec_digest="s", dataset="d", dataset_version="v", history=history,
        )  # fmt: skip
        write_checkpoint(store, manifest, {"x": np.zeros(100, "float32")})
    write_record(store, {"monitor": {"metric": "val_loss", "mode": "min"}})
    listed = inventory.runs(store.uri, "toy")
    assert [(row["metrics"], row["best"]) for row in listed] == [
        ("val_loss=3", False), ("val_loss=1", True), ("val_loss=2", False),
    ]  # fmt: skip
    assert all(400 < row["size_bytes"] < 4000 for row in listed)
    store.write("runs/toy/run.json", b"{")
    assert [row["best"] for row in inventory.runs(store.uri, "toy")] == [False, False, True]


def test_run_lists_why_each_checkpoint_is_kept(store, capsys):
    hours = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    losses = (3.0, 1.0, 2.0, 4.0, 5.0, math.nan)
    for number, (hour, loss) in enumerate(zip(hours, losses, strict=True)):
        manifest = CheckpointManifest(
            run="toy", step=number + 1, cursor=Cursor(epoch=number + 1, step=0), world_size=1,
            spec_digest="s", dataset="d", dataset_version="v",
            history=({"epoch": number, "val_loss": loss},), created_unix_s=1e9 + 3600 * hour,
        )  # fmt: skip
        write_checkpoint(store, manifest, {"x": np.zeros(100, "float32")})
    policy = {"keep": 1, "keep_every_hours": 4, "monitor": {"metric": "val_loss"}}
    write_record(store, policy)
    with reading(store, list_checkpoints(store, "toy")[2], reader="test"):
        assert main(["runs", "toy", "--checkpoints", "--store", store.uri, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["checkpoints"]
    assert [row["kept"] for row in listed] == ["hourly", "best", "read", "", "hourly", "last"]
    assert [row["step"] for row in listed if row["best"]] == [2]
    assert listed[1].items() >= {
        "step": 2, "epoch": 2, "step_of_epoch": 0, "created": "2001-09-09T02:46:40+00:00",
        "metrics": "val_loss=1", "uri": store.uri_of("runs/toy/checkpoints/step-00000002"),
    }.items()  # fmt: skip
    assert all(400 < row["size_bytes"] < 4000 for row in listed)
    assert main(["runs", "toy", "--checkpoints", "--store", store.uri]) == 0
    assert "hourly" in capsys.readouterr().out


def test_run_without_a_name_has_no_checkpoints_to_list(store, capsys):
    assert main(["runs", "--checkpoints", "--store", store.uri]) == 2
    assert "--checkpoints needs the NAME of a run." in capsys.readouterr().err


def test_epochs_are_the_journals_and_without_it_the_checkpoints(store):
    history = ({"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.0})
    manifest = CheckpointManifest(
        run="toy", step=20, cursor=Cursor(epoch=2, step=0), world_size=1,
        spec_digest="s", dataset="d", dataset_version="v", history=history,
    )  # fmt: skip
    write_checkpoint(store, manifest, {"x": np.zeros(1, "float32")})
    without = {"learning_rate": None, "seconds": None, "rows_per_s": None, "data_wait": None}
    assert inventory.epochs(store.uri, "toy") == [
        {"epoch": 0, "loss": 2.0, **without}, {"epoch": 1, "loss": 1.0, **without},
    ]  # fmt: skip
    line = JournalLine(
        kind="epoch", epoch=1, step=20, logs={"loss": 1.0}, seconds=4.0, rows_per_s=5.0
    )
    store.write(journal_key("toy"), dump_journal([line]))
    first, second = inventory.epochs(store.uri, "toy")
    assert first["seconds"] is None
    assert (second["seconds"], second["rows_per_s"], second["loss"]) == (4.0, 5.0, 1.0)
