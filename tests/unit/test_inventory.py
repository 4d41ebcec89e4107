"""Listings while others write: what is not finished, or just gone, is not listed."""

import numpy as np
import pytest
from tests.sample_datasets import write_dataset

from shardline import inventory
from shardline.artifacts.aliases import AliasRecord
from shardline.artifacts.checkpoint import CheckpointManifest, Cursor, write_checkpoint
from shardline.data.schema import Column, Label
from shardline.errors import NotFoundError
from shardline.store import Store


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


def test_models_one_that_goes_while_it_is_read_is_not_listed(store, removed_when_read):
    for name in ("going", "staying"):
        store.write(f"models/{name}/1/model.json", b"{}")
        record = AliasRecord(model=name, alias="live", version=1, history=())
        store.write(f"models/{name}/aliases/live.json", record.model_dump_json().encode())
    removed_when_read("models/going/aliases/live.json")
    listed = inventory.models(store.uri, None)
    assert [(row["model"], row["aliases"]) for row in listed] == [("staying", "live=1")]
