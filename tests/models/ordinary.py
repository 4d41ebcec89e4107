"""Data of every kind, and how the models of `ordinary_*.py` are finished."""

import keras
import numpy as np
from keras import layers
from tests.sample_datasets import write_dataset

from shardline.data.padding import Padding
from shardline.data.schema import Column, Label

ROWS = 24
CITIES = ("Bonn", "Köln", "Ulm")
WORDS = ("rain", "sun", "snow", "fog")
FEATURES = [
    Column(name="x", dtype="float32", shape=(6,)),
    Column(name="image", dtype="float32", shape=(8, 8, 3)),
    Column(name="photo", dtype="uint8", shape=(32, 32, 3)),
    Column(name="series", dtype="float32", shape=(12, 2)),
    Column(name="wave", dtype="float32", shape=(256,)),
    Column(name="clip", dtype="float32", shape=(4, 6, 6, 1)),
    Column(name="tokens", dtype="int64", shape=(6,)),
    Column(name="basket", dtype="int64", shape=(5,), padding=Padding(value=0, longer="quarantine")),
    Column(name="city", dtype="string"),
    Column(name="words", dtype="string", shape=(3,)),
    Column(name="sentence", dtype="string"),
    Column(name="age", dtype="float32"),
    Column(name="code", dtype="int32"),
    Column(name="user id", dtype="int64"),
    Column(name="member", dtype="bool"),
    Column(name="when", dtype="timestamp"),
    Column(name="wide", dtype="float64", shape=(4,)),
]
KIND = Label(name="kind", dtype="int64", vocabulary=("left", "middle", "right"))


def write_everything(store):
    """A dataset with one column of each kind."""
    return write_dataset(
        store, FEATURES, KIND, {"train": _values(), "test": _values(1)}, name="everything"
    )


def classifier(x, inputs=None, **options):
    """The usual end of a model that tells three kinds apart."""
    return finished(layers.Dense(3, activation="softmax", name="kinds")(x), inputs, **options)


def finished(outputs, inputs=None, *, loss="sparse_categorical_crossentropy", optimizer="adam"):
    """A compiled functional model; what leads to its outputs is found in the graph."""
    model = keras.Model(inputs if inputs is not None else _inputs_of(outputs), outputs)
    model.compile(optimizer=optimizer, loss=loss)
    return model


def compiled(model, loss="sparse_categorical_crossentropy"):
    """The same for models of other kinds."""
    model.compile(optimizer="sgd", loss=loss)
    return model


def _inputs_of(outputs):
    found = [keras.utils.get_source_inputs(tensor) for tensor in keras.tree.flatten(outputs)]
    named = {tensor.name: tensor for tensors in found for tensor in tensors}
    return {name: named[name] for name in sorted(named)}


def _values(seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.arange(ROWS) % 6
    basket = rng.integers(1, 20, (ROWS, 5)) * (np.arange(5) < lengths[:, None])
    return {
        "x": rng.normal(size=(ROWS, 6)),
        "image": rng.uniform(size=(ROWS, 8, 8, 3)),
        "photo": rng.integers(0, 256, (ROWS, 32, 32, 3)),
        "series": rng.normal(size=(ROWS, 12, 2)) * (np.arange(ROWS) % 3 > 0)[:, None, None],
        "wave": np.sin(np.outer(np.arange(1, ROWS + 1), np.arange(256) / 9)),
        "clip": rng.normal(size=(ROWS, 4, 6, 6, 1)),
        "tokens": rng.integers(0, 30, (ROWS, 6)),
        "basket": basket,
        "city": [CITIES[i % 3] for i in range(ROWS)],
        "words": np.array(WORDS, object)[rng.integers(0, 4, (ROWS, 3))],
        "sentence": [f"the {CITIES[i % 3]} SUN, and {WORDS[i % 4]}!" for i in range(ROWS)],
        "age": rng.uniform(0, 99, ROWS).astype(np.float32),
        "code": np.arange(ROWS, dtype=np.int32) % 5,
        "user id": np.arange(ROWS) * 1_000_003,
        "member": np.arange(ROWS) % 2 == 0,
        "when": np.arange(ROWS) * 3_600_000_000,
        "wide": rng.normal(size=(ROWS, 4)),
        "kind": np.arange(ROWS) % 3,
    }
