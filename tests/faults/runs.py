"""Runs to be hit by faults: every worker writes down which rows it was fed at which step."""

import time
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

import numpy as np
import orjson
from tests.lines import classifier_line

from shardline.artifacts.checkpoint import find_checkpoint, read_tensors
from shardline.data.manifest import load_dataset
from shardline.model.code import collect_code
from shardline.spec import load_spec
from shardline.store import Store
from shardline.training.task import WorkerTask
from shardline.training.worker import train_worker

DEADLINE_S = 150
BUILDER = """
import os, time
import keras
import tensorflow as tf

def build(features, log, slow_while="", eat_when=""):
    x = keras.layers.Concatenate()([features["a"].normalized(), features["b"].normalized()])
    x = keras.layers.Dense(16, activation="relu")(x)
    model = keras.Model(features.inputs, keras.layers.Dense(3, activation="softmax", name="p")(x))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    take_step = model.train_step

    def note(iteration, a):
        values = " ".join(format(value, ".6f") for value in a.ravel())
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {iteration} {values}\\n")
        if os.path.exists(slow_while):
            time.sleep(0.2)
        if os.path.exists(eat_when):
            os.remove(eat_when)  # one process, once
            eat()

    def eat():
        eaten = []
        while len(eaten) < 60:
            eaten.append(b"x" * (100 << 20))
            time.sleep(0.05)

    def train_step(data):
        logs = take_step(data)
        noted = tf.numpy_function(note, [model.optimizer.iterations, data[0]["a"]], [])
        with tf.control_dependencies([noted]):
            return {name: tf.identity(value) for name, value in logs.items()}

    model.train_step = train_step
    return model
"""


def noted_line(folder: Path, run: str, **overrides):
    """A line whose workers write to `folder/run.log`, slowly while `folder/run.slow` exists.

    One of them eats memory once a file `eat_when` is there. Checkpoints every 5 steps, 2 epochs.
    """
    classifier_line(folder)
    (folder / "model.py").write_text(BUILDER)
    options = {
        "train.run": run,
        "train.checkpoint.every_steps": 5,
        "train.epochs": 2,
        "model.params.log": str(folder / f"{run}.log"),
        "model.params.slow_while": str(folder / f"{run}.slow"),
    } | overrides
    return load_spec(folder / "toy.yaml", overrides=[f"{key}={v}" for key, v in options.items()])


def pids(log: Path) -> list[int]:
    """Processes that took steps, in the order of their first one."""
    return list(dict.fromkeys(int(line.split()[0]) for line in _lines(log)))


def rows_by_step(log: Path) -> dict[int, set[str]]:
    """The rows that any process was fed at each step."""
    rows = defaultdict(set)
    for line in _lines(log):
        _, step, *values = line.split()
        rows[int(step)].update(values)
    return rows


def rows_fed(log: Path, to: Collection[int] = ()) -> Counter[int]:
    """How many rows were fed at each step, to some processes or to all; repeated steps too."""
    fed: Counter[int] = Counter()
    for line in _lines(log):
        pid, step, *values = line.split()
        if not to or int(pid) in to:
            fed[int(step)] += len(values)
    return fed


def steps_seen(log: Path) -> int:
    """The highest step that a process took."""
    return max(rows_fed(log), default=0)


def steps_taken(log: Path) -> list[int]:
    """Every step that any process took, repeated ones included."""
    return sorted(int(line.split()[1]) for line in _lines(log))


def incidents(spec) -> list[str]:
    """What the run says stopped its workers."""
    store, key = Store(spec.store), f"runs/{spec.run_name}/incidents.json"
    return orjson.loads(store.read(key)) if store.exists(key) else []


def undisturbed(folder: Path, **overrides):
    """The same run in this process, without Ray, as `calm`."""
    spec = noted_line(folder, "calm", **overrides)
    dataset = load_dataset(Store(spec.store), spec.name)
    outcome = train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))})
    assert outcome.refusal is None
    return spec


def wait_until(condition, *, what: str):
    """The first true value of a condition."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(0.1)
    return found


def assert_same_end(spec, expected, *, atol=0.0):
    """Final weights, optimizer and epochs of two runs; bit for bit unless told otherwise."""
    store = Store(spec.store)
    ours, theirs = (find_checkpoint(store, s.run_name) for s in (spec, expected))
    assert ours.cursor == theirs.cursor
    for entry, other in zip(ours.history, theirs.history, strict=True):
        assert entry.keys() == other.keys()
        np.testing.assert_allclose([*entry.values()], [*other.values()], rtol=1e-5)
    tensors, undisturbed = read_tensors(store, ours), read_tensors(store, theirs)
    assert tensors.keys() == undisturbed.keys()
    for name, array in tensors.items():
        np.testing.assert_allclose(array, undisturbed[name], rtol=0, atol=atol, err_msg=name)


def _lines(log: Path) -> list[str]:
    text = log.read_text() if log.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
