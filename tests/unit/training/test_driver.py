"""What the driver decides before and instead of starting workers."""

import numpy as np
import pytest
from tests.checkpoints import commit
from tests.sample_datasets import spec_for, write_dataset

from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    Cursor,
    checkpoint_key,
    list_checkpoints,
    write_checkpoint,
)
from shardline.data.schema import Column, Label
from shardline.model.code import collect_code
from shardline.progress import SilentProgress
from shardline.spec.locations import local_path
from shardline.store import open_store
from shardline.training import driver
from shardline.training.driver import train_model
from shardline.training.run import begin_run, run_identity
from shardline.training.task import WorkerTask
from shardline.training.worker import Outcome

HISTORY = tuple({"epoch": epoch, "loss": 1.0 / (epoch + 1)} for epoch in range(3))


def build(features):
    """The builder of the run's model; nothing here calls it."""


@pytest.fixture
def line(tmp_path):
    """Store and dataset of a line."""
    store = open_store(f"file://{tmp_path}/store")
    values = {"x": np.zeros(64, "float32"), "y": np.zeros(64, "float32")}
    features, label = [Column(name="x", dtype="float32")], Label(name="y", dtype="float32")
    return store, write_dataset(store, features, label, {"train": values})


@pytest.fixture
def handed_over(line, monkeypatch):
    """The tasks that would have gone to workers, which then commit the run's end."""
    store, _ = line
    tasks = []

    def run(task, *_):
        tasks.append(task)
        commit(store, 12, run=task.spec.run_name, cursor=Cursor(epoch=3, step=0), history=HISTORY)
        return Outcome(history=[])

    monkeypatch.setattr(driver, "_run", run)
    monkeypatch.setattr(driver, "_check_resources", lambda spec: None)
    return tasks


def task_of(line, **train):
    store, dataset = line
    spec = spec_for(store, dataset, build, train={"global_batch": 16, "epochs": 3, **train})
    return WorkerTask(spec, dataset, collect_code(spec))


def begun(line, task, *, epoch):
    """The run with one checkpoint, at the end of that many epochs."""
    store, dataset = line
    begin_run(store, task.spec, dataset=dataset, code=task.code)
    commit(
        store,
        4 * epoch,
        run=task.spec.run_name,
        cursor=Cursor(epoch=epoch, step=0),
        history=HISTORY[:epoch],
        identity=run_identity(task.spec, dataset, task.code),
    )


def train(line, task):
    return train_model(task, store=line[0], progress=SilentProgress())


def tear(line, task):
    """Damage the files of the run's checkpoints, keeping their length."""
    store, _ = line
    for checkpoint in list_checkpoints(store, task.spec.run_name):
        for name in checkpoint.files:
            path = local_path(store.uri_of(f"{checkpoint.key}/{name}"))
            path.write_bytes(bytes(path.stat().st_size))


def test_run_with_more_epochs_than_asked_for_starts_nothing_and_says_so(line, handed_over, caplog):
    begun(line, task_of(line), epoch=3)
    assert len(train(line, task_of(line, epochs=2)).history) == 3
    assert handed_over == []
    assert "has 3 epochs already, more than train.epochs (2): nothing to do" in caplog.text


def test_finished_run_whose_last_checkpoint_is_torn_is_trained_on(line, handed_over, caplog):
    task = task_of(line)
    begun(line, task, epoch=3)
    assert len(train(line, task).history) == 3
    assert handed_over == []
    tear(line, task)
    train(line, task)
    assert len(handed_over) == 1
    assert "falling back to an earlier checkpoint" in caplog.text


def test_run_that_goes_on_is_left_to_the_workers_to_read(line, handed_over, caplog):
    task = task_of(line)
    begun(line, task, epoch=1)
    tear(line, task)
    train(line, task)
    assert len(handed_over) == 1
    assert "falling back" not in caplog.text


def test_warm_start_comes_into_its_own_when_all_checkpoints_are_torn(line, handed_over):
    store, _ = line
    base = CheckpointManifest(
        run="base", step=2, cursor=Cursor(epoch=0, step=2), world_size=1, spec_digest="s",
        dataset="d", dataset_version="v", history=(),
    )  # fmt: skip
    write_checkpoint(store, base, {"x": np.zeros(1, "float32")})
    task = task_of(line, warm_start="runs:/base")
    begun(line, task, epoch=1)
    train(line, task)
    store.delete_folder(checkpoint_key(task.spec.run_name, 12))
    tear(line, task)
    train(line, task)
    first, second = handed_over
    assert first.warm_start is None
    assert second.warm_start.described == "step 2 of run 'base'"
