"""Callbacks from the spec: the same decisions on every rank, and across restarts."""

import inspect
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tests.lines import classifier_line, prepared, trained
from tests.models.test_resume import end_state, run

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.artifacts.checkpoint_removal import delete_checkpoints
from shardline.data.manifest import load_dataset
from shardline.errors import ModelError, SpecError
from shardline.model.code import collect_code
from shardline.spec.callbacks import OFFERED, REFUSED, REFUSED_ARGUMENTS
from shardline.store import Store
from shardline.training.task import WorkerTask
from shardline.training.user_callbacks import UserCallbacks, plain_attributes
from shardline.training.worker import train_worker

OWN = """
import keras

class Note(keras.callbacks.Callback):
    def __init__(self, path, every=1):
        super().__init__()
        self.path, self.every, self.seen = path, every, 0

    def on_epoch_end(self, epoch, logs=None):
        self.seen += 1
        with open(self.path, "a") as file:
            file.write(f"{epoch} {self.seen} {sorted(logs)}\\n")
"""

# Nothing improves by so much, so both count from the first epoch on.
NEVER = {"monitor": "loss", "mode": "min", "min_delta": 100}
CALLBACKS = [
    {"name": "ReduceLROnPlateau", "patience": 2, "factor": 0.5, **NEVER},
    {"name": "EarlyStopping", "patience": 4, **NEVER},
]
OPTIONS = {"train.checkpoint.every_steps": 5, "train.checkpoint.keep": 100, "train.epochs": 8}


def line_with(folder, callbacks, **options):
    spec = classifier_line(folder, **OPTIONS, **{"train.callbacks": callbacks}, **options)
    (folder / "watch.py").write_text(OWN)
    prepared(spec)
    return spec


def refusal_of(spec):
    dataset = load_dataset(Store(spec.store), spec.name)
    return train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))}).refusal


def test_table_of_callbacks_is_that_of_keras():
    classes = {
        name
        for name, kind in vars(keras.callbacks).items()
        if inspect.isclass(kind) and issubclass(kind, keras.callbacks.Callback)
    }
    assert classes - {"Callback", "CallbackList"} == OFFERED.keys() | REFUSED.keys()
    for name, arguments in OFFERED.items():
        taken = set(inspect.signature(getattr(keras.callbacks, name)).parameters) - {"kwargs"}
        refused = {argument for callback, argument in REFUSED_ARGUMENTS if callback == name}
        assert taken == arguments.keys() | refused


def test_run_cut_off_between_two_decisions_ends_as_the_uninterrupted_one(tmp_path):
    notes = tmp_path / "notes"
    own = {"name": "watch:Note", "path": str(notes), "every": 2}
    spec = line_with(tmp_path, [*CALLBACKS, own])
    history, expected = run(spec), end_state(spec)
    assert [entry["epoch"] for entry in history] == [0, 1, 2, 3, 4]  # stopped
    rates = [entry["learning_rate"] for entry in history]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.005])
    lines = notes.read_text().splitlines()
    store = Store(spec.store)
    checkpoints = list_checkpoints(store, "toy")
    assert [c.finished for c in checkpoints] == [False] * (len(checkpoints) - 1) + [True]
    cut = next(i for i, c in enumerate(checkpoints) if c.cursor.epoch == 2 and c.cursor.step)
    assert checkpoints[cut].callbacks[2] == {"seen": 2}
    delete_checkpoints(store, checkpoints[cut + 1 :])

    assert run(spec) == [pytest.approx(entry, rel=1e-6) for entry in history]
    assert notes.read_text().splitlines() == [*lines, *lines[2:]]
    for name, array in end_state(spec).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    # Finished: the same command starts nothing (there is no Ray here), whatever the epochs.
    assert [entry["epoch"] for entry in trained(spec).history] == [0, 1, 2, 3, 4]


def test_stop_in_the_epoch_that_a_restart_continues_is_the_end(tmp_path):
    """That epoch has a `fit` of its own, after which moving averages would still be due."""
    averaged = "keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)"
    stopping = [{"name": "EarlyStopping", "patience": 1, **NEVER}]
    spec = classifier_line(tmp_path, **OPTIONS, **{"train.callbacks": stopping})
    model = tmp_path / "model.py"
    model.write_text(model.read_text().replace("keras.optimizers.Adam(0.01)", averaged))
    prepared(spec)
    history, expected = run(spec), end_state(spec)
    assert len(history) == 2
    store = Store(spec.store)
    checkpoints = list_checkpoints(store, "toy")
    cut = next(i for i, c in enumerate(checkpoints) if c.cursor.epoch == 1 and c.cursor.step)
    delete_checkpoints(store, checkpoints[cut + 1 :])
    assert len(run(spec)) == 2
    for name, array in end_state(spec).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("callback", "sentence"),
    [
        (
            {"name": "EarlyStopping", "monitor": "val_los"},
            "EarlyStopping monitors 'val_los', which is not among the logs of an epoch; use one of",
        ),
        (
            {"name": "ReduceLROnPlateau", "factor": 2.0},
            "ReduceLROnPlateau cannot be made with {'factor': 2.0}: ValueError: ",
        ),
        (
            {"name": "watch:Note", "pathh": "x"},
            "watch:Note cannot be made with {'pathh': 'x'}: TypeError: ",
        ),
        ({"name": "model:build", "features": {}}, "model:build cannot be made with"),
    ],
)
def test_callback_that_cannot_work_is_a_refusal_in_a_sentence(tmp_path, callback, sentence):
    refusal = refusal_of(line_with(tmp_path, [callback]))
    assert isinstance(refusal, SpecError)
    assert f"train.callbacks: {sentence}" in str(refusal)


@pytest.mark.parametrize("votes", [[b"\1", b"\0"], [b"\0", b"\0", b"\1"]])
def test_callback_that_stops_some_ranks_only_is_refused(votes):
    watcher = UserCallbacks(
        [keras.callbacks.EarlyStopping("loss")],
        exchange=SimpleNamespace(all_gather=lambda _: votes),
    )
    watcher.set_model(SimpleNamespace(stop_training=True))
    with pytest.raises(ModelError, match=r"\(EarlyStopping\) stopped training on ranks \[\d\] of"):
        watcher.on_epoch_end(0, {"loss": 1.0})


def test_state_of_a_callback_is_what_json_can_hold():
    callback = keras.callbacks.EarlyStopping("loss", patience=3)
    before = plain_attributes(callback)
    assert json.loads(json.dumps(before)) == before
    callback.best, callback.best_weights = np.float32(0.5), [np.zeros(2)]
    callback.names, callback.worst = ["a", 1, None], float("inf")
    after = plain_attributes(callback)
    assert {name: after[name] for name in after if before.get(name, "") != after[name]} == {
        "best": 0.5,
        "names": ["a", 1, None],
    }
    assert json.loads(json.dumps(after)) == after
