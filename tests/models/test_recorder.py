"""A real model's checkpoints, recorded by two ranks."""

import threading

import keras
import numpy as np
import pytest
from tests.checkpoints import manifest
from tests.rings import with_ring

from shardline.artifacts.checkpoint import Cursor, list_checkpoints, read_tensors
from shardline.artifacts.variables import host_array, model_tensors
from shardline.errors import NotFiniteError
from shardline.spec.train import CheckpointSpec
from shardline.store import Store, open_store
from shardline.training.checkpoints.recorder import Recorder, Snapshot

DEADLINE_S = 30


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}")


def trained_model():
    keras.utils.clear_session()  # names count up in a process; workers are processes of their own
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(5, dtype="bfloat16"), keras.layers.Dense(1)]
    )
    model.compile(optimizer="adam", loss="mse", run_eagerly=True)
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 1)))
    return model


def recorder_of(ring, store):
    return Recorder(store, manifest(0), policy=CheckpointSpec(keep=5), exchange=ring)


def snapshot(step, metrics=()):
    return Snapshot(step, Cursor(epoch=0, step=step), history=(), metrics=list(metrics))


def test_record_two_ranks_each_write_a_share_of_all_state(store):
    models = [trained_model(), trained_model()]

    def body(ring):
        recorder = recorder_of(ring, store)
        recorder.save(models[ring.rank], snapshot(1, [np.float32(7)]))
        recorder.finish()

    with_ring(2, body)
    (checkpoint,) = list_checkpoints(store, "r")
    found = read_tensors(store, checkpoint)
    expected = model_tensors(models[0]) | {"metrics/00000": np.float32(7)}
    optimizer = [host_array(variable) for variable in models[0].optimizer.variables]
    assert len(checkpoint.files) == 2
    assert len(found) == len(expected) + len(optimizer)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    names = sorted(name for name in found if name.startswith("optimizer/"))
    for name, array in zip(names, optimizer, strict=True):
        np.testing.assert_array_equal(found[name], array)


def test_record_what_training_changes_afterwards_is_not_in_it(store, monkeypatch, caplog):
    """The commit is held up; the step goes on; the next save waits and says so once."""
    model, release = trained_model(), threading.Event()
    write = Store.write

    def slow(self, key, data, **options):
        assert release.wait(DEADLINE_S)
        write(self, key, data, **options)

    monkeypatch.setattr(Store, "write", slow)

    def body(ring):
        recorder = recorder_of(ring, store)
        before = {name: np.array(array) for name, array in model_tensors(model).items()}
        recorder.save(model, snapshot(1))
        model.train_on_batch(np.ones((4, 3)), np.zeros((4, 1)))
        threading.Timer(0.1, release.set).start()
        recorder.save(model, snapshot(2))
        recorder.save(model, snapshot(3))
        recorder.finish()
        return before

    (before,) = with_ring(1, body)
    first, second, third = list_checkpoints(store, "r")
    for name, array in before.items():
        np.testing.assert_array_equal(read_tensors(store, first)[name], array)
    for name, array in model_tensors(model).items():
        np.testing.assert_array_equal(read_tensors(store, second)[name], array)
    assert (second.step, third.step) == (2, 3)
    assert caplog.text.count("training waits at step") == 1


def test_record_weights_that_are_not_finite_are_never_committed(store):
    models = [trained_model(), trained_model()]
    for model in models:
        model.layers[-1].bias.assign([np.nan])

    def body(ring):
        recorder = recorder_of(ring, store)
        recorder.save(models[ring.rank], snapshot(1))
        with pytest.raises(NotFiniteError, match=r"variable 'model/\d+/sequential/dense_1/bias' h"):
            recorder.finish()

    with_ring(2, body)
    assert list_checkpoints(store, "r") == []
