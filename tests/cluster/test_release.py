"""Evaluate, export and promote as Ray tasks: what is there already is not made again."""

import numpy as np
import pytest
from tests.sample_datasets import candidate_of, write_dataset

from shardline.artifacts.registry import list_models, resolve
from shardline.artifacts.release import Gate, export_run, promote_version
from shardline.data.schema import Column, Label
from shardline.errors import GateError, ModelError
from shardline.evaluation import evaluate_run
from shardline.spec.output import Bound
from shardline.store import Store

X = Column(name="x", dtype="float32")
Y = Label(name="y", dtype="float32")


def build(features):
    import keras

    model = keras.Model(features.inputs, keras.layers.Dense(1)(features["x"].input))
    model.compile(loss="mse")
    return model


def ones(model):
    model.set_weights([np.array([[1.0]], np.float32), np.array([0.0], np.float32)])


@pytest.fixture
def candidate(tmp_path):
    store = Store(f"file://{tmp_path}/store")
    x = np.arange(8, dtype=np.float32)
    values = {"x": x, "y": x + 1}
    dataset = write_dataset(store, [X], Y, {"train": values, "test": values})
    return candidate_of(store, dataset, build, prepare=ones)


def with_export(candidate, **section):
    export = candidate.spec.export.model_copy(update=section)
    return candidate.spec.model_copy(update={"export": export})


def test_release_gate_decides_which_version_the_alias_gets(candidate, ray_session):
    store, code = candidate.store, candidate.code
    evaluated = evaluate_run(store, candidate.spec, code)
    assert evaluated.metrics == {"loss": pytest.approx(1.0)}
    strict = with_export(candidate, alias="production", gate={"loss": Bound(max=0.5)})
    with pytest.raises(GateError, match=r"loss is 1, at most 0.5 is allowed"):
        export_run(store, strict, code)
    assert [(m.versions, m.aliases) for m in list_models(store)] == [((1,), {})]
    loose = with_export(candidate, alias="production", gate={"loss": Bound(max=1.5)})
    result = export_run(store, loose, code)
    assert (result.version, result.alias, result.reused) == (1, "production", True)
    assert resolve(store, "tiny", alias="production").metrics == evaluated.metrics
    record = promote_version(store, loose, Gate(), version=None, alias="staging", why="tried out")
    assert record.history[0].why == "tried out"
    assert [m.aliases for m in list_models(store)] == [{"production": 1, "staging": 1}]


def test_release_error_of_the_builder_arrives_as_it_was_raised(candidate, ray_session):
    spec = candidate.spec.model_copy(
        update={"model": candidate.spec.model.model_copy(update={"params": {"width": 3}})}
    )
    with pytest.raises(ModelError, match=r"raised TypeError: .*width"):
        export_run(candidate.store, spec, candidate.code)
