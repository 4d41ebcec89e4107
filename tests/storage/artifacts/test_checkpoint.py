"""Checkpoints: unmarked ones do not exist, damaged ones are noticed, old ones go."""

import math

import numpy as np
import pytest

from shardline.artifacts.checkpoint import (
    MARKER_NAME,
    CheckpointManifest,
    Cursor,
    best_checkpoint,
    find_checkpoint,
    list_checkpoints,
    read_tensors,
    write_checkpoint,
)
from shardline.artifacts.checkpoint_reading import newest_intact
from shardline.artifacts.checkpoint_removal import delete_checkpoints
from shardline.errors import IntegrityError, NotFoundError
from shardline.spec.train import MonitorSpec
from shardline.store import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}")


def manifest(step, *, loss=None, in_epoch=0):
    return CheckpointManifest(
        run="r",
        step=step,
        cursor=Cursor(epoch=step, step=in_epoch),
        world_size=1,
        spec_digest="s",
        dataset="d",
        dataset_version="v",
        history=() if loss is None else ({"epoch": step, "val_loss": loss},),
    )


TENSORS = {"model/0000/kernel": np.arange(6, dtype="float32").reshape(2, 3)}


def test_write_then_read_gives_the_same_arrays(store):
    write_checkpoint(store, manifest(5), TENSORS)
    found = find_checkpoint(store, "r")
    assert found.step == 5
    np.testing.assert_array_equal(
        read_tensors(store, found)["model/0000/kernel"], TENSORS["model/0000/kernel"]
    )


def test_unmarked_checkpoint_does_not_exist(store):
    write_checkpoint(store, manifest(5), TENSORS)
    write_checkpoint(store, manifest(9), TENSORS)
    store.delete(f"{manifest(9).key}/{MARKER_NAME}")
    assert [c.step for c in list_checkpoints(store, "r")] == [5]


def test_damaged_tensors_are_named(store):
    write_checkpoint(store, manifest(5), TENSORS)
    key = find_checkpoint(store, "r").file_keys[0]
    store.write(key, store.read(key)[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"step-00000005/tensors-\w+.safetensors is damaged"):
        read_tensors(store, find_checkpoint(store, "r"))


def test_second_writer_of_a_step_leaves_the_committed_one_alone(store):
    write_checkpoint(store, manifest(5), TENSORS)
    write_checkpoint(store, manifest(5), {"model/0000/kernel": np.zeros((2, 3), "float32")})
    found = read_tensors(store, find_checkpoint(store, "r"))
    np.testing.assert_array_equal(found["model/0000/kernel"], TENSORS["model/0000/kernel"])


def test_newest_intact_passes_over_damage_and_makes_room(store, caplog):
    for step in (5, 9):
        write_checkpoint(store, manifest(step), TENSORS)
    store.write(find_checkpoint(store, "r").file_keys[0], b"torn")
    assert newest_intact(store, list_checkpoints(store, "r")).step == 5
    assert "falling back to an earlier checkpoint" in caplog.text
    assert [c.step for c in list_checkpoints(store, "r")] == [5]
    assert newest_intact(store, []) is None


def test_find_without_any_says_what_to_run(store):
    with pytest.raises(NotFoundError, match=r"run 'r' has no checkpoint .*shardline train"):
        find_checkpoint(store, "r")


def test_find_of_a_step_says_which_there_are(store):
    for step in (5, 9):
        write_checkpoint(store, manifest(step), TENSORS)
    assert find_checkpoint(store, "r", step=5).step == 5
    with pytest.raises(NotFoundError, match=r"no checkpoint of step 7 in .*; it has .* steps 5, 9"):
        find_checkpoint(store, "r", step=7)


def test_best_is_the_newest_unless_an_epoch_end_scored_better():
    monitor = MonitorSpec(metric="val_loss", mode="min")
    checkpoints = [
        manifest(1, loss=0.5),
        manifest(2, loss=0.3),
        manifest(3, loss=0.1, in_epoch=7),  # the loss is an earlier epoch's
        manifest(4, loss=0.4),
    ]
    assert best_checkpoint(checkpoints, None).step == 4
    assert best_checkpoint(checkpoints, monitor).step == 2
    assert best_checkpoint(checkpoints, MonitorSpec(metric="val_loss", mode="max")).step == 1
    assert best_checkpoint([manifest(0, loss=math.nan), *checkpoints], monitor).step == 2


def test_delete_removes_all_files(store):
    write_checkpoint(store, manifest(5), TENSORS)
    delete_checkpoints(store, list_checkpoints(store, "r"))
    assert list(store.scan("runs/")) == []
