"""Evaluation of real Keras models: every held-out row once, partial batches included."""

import json

import numpy as np
import pytest
from tests.sample_datasets import candidate_of, write_dataset

from shardline.artifacts.checkpoint import find_checkpoint
from shardline.artifacts.evaluation import evaluation_key, find_evaluation, held_out_split
from shardline.data.schema import Column, Label
from shardline.errors import DataError, NotFoundError
from shardline.evaluation import evaluate_run
from shardline.evaluation.worker import evaluate_candidate
from shardline.store import Store

X = Column(name="x", dtype="float32")
CITY = Column(name="city", dtype="string")
Y = Label(name="y", dtype="float32")
CLASS = Label(name="class", dtype="int64", vocabulary=("low", "high"))


def build_identity(features):
    import keras

    model = keras.Sequential([keras.Input((1,), name="x"), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=["mae"])
    return model


def build_threshold(features):
    import keras

    joined = keras.layers.Concatenate()(
        [features["x"].input, keras.ops.cast(features["city"].indexed(), "float32")]
    )
    scores = keras.layers.Dense(2, activation="softmax")(joined)
    model = keras.Model(features.inputs, scores)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def identity(model):
    model.set_weights([np.array([[1.0]], np.float32), np.array([0.0], np.float32)])


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def regression(store):
    def make(**splits):
        values = {
            split: {"x": np.arange(rows, dtype=np.float32), "y": np.arange(rows) * 2.0}
            for split, rows in {"train": 8, **splits}.items()
        }
        dataset = write_dataset(store, [X], Y, values, rows_per_group=5, groups_per_shard=3)
        return candidate_of(store, dataset, build_identity, prepare=identity, score={"batch": 4})

    return make


def run_here(function, *args):
    return function(*args)


def run_never(*_):
    raise AssertionError("evaluated again")


def test_evaluate_counts_every_row_once(regression):
    # 37 rows: shards of 15, 15 and 7, batches of 4, the last of each shard partial.
    candidate = regression(test=37, validation=5)
    result = evaluate_run(candidate.store, candidate.spec, candidate.code, run=run_here)
    deviations = np.arange(37.0)  # the model answers x, the label is 2 x
    assert result.metrics == pytest.approx(
        {"loss": (deviations**2).mean(), "mae": deviations.mean()}, rel=1e-5
    )
    assert all(type(value) is float for value in result.metrics.values())
    assert (result.rows, result.split) == (37, "test")
    assert result.checkpoint == candidate.store.uri_of(candidate.checkpoint.key)


def test_evaluate_classifier_with_text_feature(store):
    x = np.array([-2, -1, 1, 2, 3, -4], dtype=np.float32)
    values = {"x": x, "city": ["Bonn", "Ulm"] * 3, "class": np.array([0, 0, 1, 1, 0, 1])}
    dataset = write_dataset(store, [X, CITY], CLASS, {"train": values, "test": values})

    def by_sign(model):
        model.set_weights([np.array([[-1, 1], [0, 0]], np.float32), np.zeros(2, np.float32)])

    candidate = candidate_of(store, dataset, build_threshold, prepare=by_sign)
    result = evaluate_run(store, candidate.spec, candidate.code, run=run_here)
    assert result.metrics["accuracy"] == pytest.approx(4 / 6)
    assert result.rows == 6


def test_evaluate_without_test_split_takes_validation(regression):
    candidate = regression(validation=5)
    result = evaluate_run(candidate.store, candidate.spec, candidate.code, run=run_here)
    assert (result.rows, result.split) == (5, "validation")


def test_evaluate_without_held_out_rows_is_refused(regression):
    candidate = regression()
    assert held_out_split(candidate.dataset) is None
    with pytest.raises(DataError) as caught:
        evaluate_run(candidate.store, candidate.spec, candidate.code, run=run_never)
    assert caught.value.message == (
        "dataset 'tiny' has no test and no validation rows to evaluate on; "
        "give data.split.fractions a test share and prepare again."
    )


def test_evaluate_without_checkpoint_is_refused(regression, tmp_path):
    candidate = regression(test=5)
    empty = Store(f"file://{tmp_path}/empty")
    with pytest.raises(NotFoundError, match=r"run 'tiny' has no checkpoint in"):
        evaluate_run(empty, candidate.spec, candidate.code, run=run_never)


def test_evaluate_again_computes_nothing(regression):
    candidate = regression(test=9)
    first = evaluate_run(candidate.store, candidate.spec, candidate.code, run=run_here)
    again = evaluate_run(candidate.store, candidate.spec, candidate.code, run=run_never)
    assert again == first


def test_evaluation_of_other_weights_is_replaced(regression):
    candidate = regression(test=9)
    store, checkpoint = candidate.store, candidate.checkpoint
    evaluate_candidate(candidate, "test", clock=lambda: 7.0)
    key = evaluation_key(checkpoint, candidate.dataset)
    assert key == "runs/tiny/evaluations/step-00000003-v1.json"
    edited = json.loads(store.read(key)) | {"checkpoint_digest": "other"}
    store.write(key, json.dumps(edited).encode())
    digest = candidate.builder_digest
    assert find_evaluation(store, checkpoint, candidate.dataset, builder_digest=digest) is None
    evaluate_run(store, candidate.spec, candidate.code, run=run_here)
    found = find_evaluation(store, checkpoint, candidate.dataset, builder_digest=digest)
    assert found.checkpoint_digest == find_checkpoint(store, "tiny").digest
    assert find_evaluation(store, checkpoint, candidate.dataset, builder_digest="other") is None
