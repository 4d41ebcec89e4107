"""Three small Keras models on three small datasets, trained as far as a test needs, exported."""

import shutil
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from tests.models.ranks import Ranks
from tests.sample_datasets import candidate_of, write_dataset

from shardline.artifacts.candidate import Candidate
from shardline.artifacts.export import ExportResult, export_version
from shardline.data.schema import Column, Label
from shardline.spec.locations import local_path
from shardline.store import Store

IMAGE = Column(name="image", dtype="uint8", shape=(4, 4, 1))
DIGIT = Label(name="class", dtype="int64", vocabulary=("null", "eins", "zwölf"))
CELSIUS = Column(name="celsius", dtype="float32")
FAHRENHEIT = Label(name="fahrenheit", dtype="float32")
LENGTH = Column(name="petal length (cm)", dtype="float32")
CITY = Column(name="city", dtype="string")
PRICE = Label(name="price", dtype="float32")


def build_classifier(features, units=3):
    import keras

    x = keras.layers.Rescaling(1 / 255)(features["image"].input)
    x = keras.layers.Flatten()(x)
    scores = keras.layers.Dense(units, activation="softmax", name="scores")(x)
    model = keras.Model(features.inputs, scores)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def build_line(features):
    import keras

    model = keras.Sequential([keras.Input((1,), name="celsius"), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=["mae"])
    return model


def build_two_inputs(features):
    import keras

    city = keras.layers.Embedding(features["city"].vocabulary_size, 2)(features["city"].indexed())
    joined = keras.layers.Concatenate()(
        [keras.layers.Flatten()(city), features["petal length (cm)"].normalized()]
    )
    outputs = {
        "price": keras.layers.Dense(1)(joined),
        "risk per cent": keras.layers.Dense(2, activation="sigmoid")(joined),
    }
    model = keras.Model(features.inputs, outputs)
    model.compile(loss={"price": "mse", "risk per cent": None})
    return model


@pytest.fixture(scope="session")
def ranks():
    """Processes that train together."""
    group = Ranks()
    yield group
    group.close()


@dataclass(frozen=True)
class Exported:
    """A candidate whose export is in its store."""

    candidate: Candidate
    result: ExportResult

    @property
    def store(self):
        return self.candidate.store


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


@pytest.fixture(scope="session")
def image_rows():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)


@pytest.fixture
def images(store, image_rows):
    return write_images(store, image_rows)


def write_images(store, image_rows):
    values = {"image": image_rows, "class": np.arange(20) % 3}
    return write_dataset(store, [IMAGE], DIGIT, {"train": values, "test": values}, name="digits")


def line_candidate(store):
    celsius = np.linspace(-10, 50, 9, dtype=np.float32)
    values = {"celsius": celsius, "fahrenheit": celsius * 1.8 + 32}
    dataset = write_dataset(store, [CELSIUS], FAHRENHEIT, {"train": values}, name="celsius")

    def solve(model):
        model.set_weights([np.array([[1.8]], np.float32), np.array([32], np.float32)])

    return candidate_of(store, dataset, build_line, prepare=solve)


def two_inputs_candidate(store):
    values = {
        "petal length (cm)": np.linspace(0, 5, 12, dtype=np.float32),
        "city": np.array(["Bonn", "Köln", "Ulm"] * 4, dtype=object),
        "price": np.linspace(1, 2, 12, dtype=np.float32),
    }
    dataset = write_dataset(
        store, [LENGTH, CITY], PRICE, {"train": values, "validation": values}, name="prices"
    )
    return candidate_of(store, dataset, build_two_inputs)


# An export takes seconds (its clean process imports TensorFlow), so each model is exported once and
# every test gets a copy of the store.
@pytest.fixture(scope="session")
def exported_stores(tmp_path_factory, image_rows):
    root = tmp_path_factory.mktemp("exported")

    @cache
    def export(name):
        store = Store(f"file://{root}/{name}")
        if name == "classifier":
            candidate = candidate_of(store, write_images(store, image_rows), build_classifier)
        elif name == "line":
            candidate = line_candidate(store)
        else:
            candidate = two_inputs_candidate(store)
        return candidate, export_version(candidate, clock=lambda: 5.0)

    return export


def _copy(exported_stores, name, store):
    candidate, result = exported_stores(name)
    shutil.copytree(local_path(candidate.store.uri), local_path(store.uri))
    return Exported(replace(candidate, store=store), result)


@pytest.fixture
def classifier(exported_stores, store):
    return _copy(exported_stores, "classifier", store)


@pytest.fixture
def line(exported_stores, store):
    return _copy(exported_stores, "line", store)


@pytest.fixture
def two_inputs(exported_stores, store):
    return _copy(exported_stores, "two_inputs", store)
