"""Small but whole lines for tests: raw data, a builder and a spec in a temporary folder."""

import json
from pathlib import Path

import numpy as np
import yaml

from shardline.data.manifest import load_dataset, make_current
from shardline.data.prepare import prepare_dataset
from shardline.model.code import collect_code
from shardline.progress import SilentProgress
from shardline.spec import load_spec
from shardline.store import open_store
from shardline.training.driver import train_model
from shardline.training.task import WorkerTask

CLASSIFIER = """
import os
import keras

def build(features, units=16, pid_file=None, slow_s=0.0):
    if pid_file:
        with open(pid_file, "a") as file:
            file.write(f"{os.getpid()}\\n")
    x = keras.layers.Concatenate()([features["a"].normalized(), features["b"].normalized()])
    x = keras.layers.Dense(units, activation="relu")(x)
    model = keras.Model(features.inputs, keras.layers.Dense(3, activation="softmax", name="p")(x))
    model.compile(
        optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    if slow_s:
        import time
        step = model.train_step
        import tensorflow as tf
        def slow(data):
            logs = step(data)
            with tf.control_dependencies([tf.numpy_function(lambda: time.sleep(slow_s), [], [])]):
                return {name: tf.identity(value) for name, value in logs.items()}
        model.train_step = slow
    return model
"""


def classifier_line(folder: Path, *, num_rows: int = 300, **overrides):
    """A table of two numbers and three named classes; `overrides` replace `section.key`s."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, num_rows))
    kinds = np.array(["left", "middle", "right"])[np.clip(np.round(a + b) + 1, 0, 2).astype(int)]
    lines = ["id,a,b,kind"]
    lines += [f"row-{i},{a[i]:.6f},{b[i]:.6f},{kinds[i]}" for i in range(num_rows)]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    (folder / "model.py").write_text(CLASSIFIER)
    values = {
        "name": "toy",
        "store": "store",
        "data": {
            "source": {"format": "csv", "path": "rows.csv"},
            "split": {"key": "id", "fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}},
            "label": {"name": "kind"},
        },
        "model": {"builder": "model:build"},
        "train": {"global_batch": 16, "epochs": 3, "seed": 3},
        "score": {"keep": ["id"]},
    }
    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(values))
    return load_spec(file, overrides=[f"{key}={json.dumps(v)}" for key, v in overrides.items()])


def prepared(spec):
    """The spec's dataset, prepared."""
    store = open_store(spec.store)
    result = prepare_dataset(spec, store=store, clock=lambda: 0.0, progress=SilentProgress())
    make_current(store, result.dataset, result.version)
    return load_dataset(store, spec.name)


def trained(spec, **options):
    """The result of training on the prepared dataset with the Ray that is connected."""
    store = open_store(spec.store)
    task = WorkerTask(spec, load_dataset(store, spec.name), collect_code(spec))
    return train_model(task, store=store, progress=SilentProgress(), **options)
