"""The frozen store's models: they load and answer, and one is measured on another one's rows."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.frozen.make import MODEL, SPEC, raw_rows

from shardline.artifacts.evaluation import held_out_split
from shardline.artifacts.predictor import load_predictor
from shardline.artifacts.registry import resolve
from shardline.data.manifest import load_dataset
from shardline.data.prepare import prepare_dataset
from shardline.errors import GateError
from shardline.evaluation.holder import measure_version
from shardline.model.code import collect_code
from shardline.progress import SilentProgress
from shardline.spec import load_spec
from shardline.store import Store

FROZEN = Path(__file__).parents[1] / "frozen" / "format-1"


@pytest.fixture
def store(tmp_path):
    shutil.copytree(FROZEN, tmp_path / "store")
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "houses.csv").write_text("\n".join(raw_rows()) + "\n")
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "houses.yaml").write_text(SPEC)
    return load_spec(tmp_path / "houses.yaml")


def run_here(function, *arguments):
    return function(*arguments)


def run_never(*_):
    raise AssertionError("measured again")


def measured(store, spec, candidate, *, run=run_here):
    holder = resolve(store, "houses", version=1)
    return measure_version(store, spec, collect_code(spec), holder, candidate, run=run)


def test_frozen_model_is_loaded_and_answers(store, tmp_path):
    predictor = load_predictor(store, "houses", 1, cache_dir=tmp_path / "cache")
    rows = {"size": np.array([[40], [150]]), "age": np.array([[0], [8]])}
    rows = {
        column.name: rows[column.name].astype(column.dtype) for column in predictor.manifest.inputs
    }
    answers = predictor.predict(rows)
    np.testing.assert_allclose(answers["scores"].sum(axis=1), [1, 1], rtol=1e-5)
    assert set(answers["kind"].ravel()) <= {"flat", "villa"}


def test_version_measured_by_its_saved_model_has_the_metrics_of_its_evaluation(store, spec):
    """The same rows by another way: the answers of the exported graph, not the checkpoint's."""
    first, second = (resolve(store, "houses", version=number) for number in (1, 2))
    found = measured(store, spec, second)
    assert found == pytest.approx(first.metrics, rel=1e-5)
    assert measured(store, spec, second, run=run_never) == found


def test_version_is_measured_on_the_rows_of_a_later_dataset(store, spec, tmp_path):
    more = [f"n{i},{50 + i},{i % 7},{'villa' if i % 4 else 'flat'}" for i in range(30)]
    (tmp_path / "raw" / "more.csv").write_text("\n".join([raw_rows()[0], *more]) + "\n")
    spec = spec.located()
    result = prepare_dataset(spec, store=store, clock=lambda: 0.0, progress=SilentProgress())
    second = resolve(store, "houses", version=2)
    lineage = second.lineage.model_copy(update={"dataset_version": result.version})
    candidate = second.model_copy(update={"lineage": lineage})
    metrics = measured(store, spec, candidate)
    (kept,) = [entry.key for entry in store.scan("models/houses/evaluations/")]
    dataset = load_dataset(store, "houses", result.version)
    assert kept.startswith(f"models/houses/evaluations/1-on-houses-{result.version}-test-")
    assert held_out_split(dataset) == "test"
    rows = dataset.split("test").rows
    assert metrics["accuracy"] * rows == pytest.approx(round(metrics["accuracy"] * rows), abs=1e-3)
    assert metrics["accuracy"] != resolve(store, "houses", version=1).metrics["accuracy"]


def test_version_is_not_measured_by_the_losses_that_another_model_adds(store, spec, tmp_path):
    """An activity regularizer's: there is none before the model is called."""
    added = MODEL.replace('"softmax"', '"softmax", activity_regularizer="l2"')
    (tmp_path / "model.py").write_text(added)
    first, second = (resolve(store, "houses", version=number) for number in (1, 2))
    code_digest = collect_code(spec).digest
    lineage = second.lineage.model_copy(update={"code_digest": code_digest})
    found = measured(store, spec, second.model_copy(update={"lineage": lineage}))
    assert found == {"accuracy": pytest.approx(first.metrics["accuracy"], rel=1e-5)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"label": {"vocabulary": ("flat", "villa", "barn")}},
            "version 1 of model 'houses', which holds the alias, learned other classes than",
        ),
        (
            {"inputs": {"name": "garden"}},
            "which holds the alias, takes 'garden' as",
        ),
    ],
)
def test_version_that_cannot_be_compared_is_refused_before_anything_starts(
    store, spec, change, sentence
):
    holder, second = (resolve(store, "houses", version=number) for number in (1, 2))
    if "label" in change:
        label = holder.label.model_copy(update=change["label"])
        holder = holder.model_copy(update={"label": label})
    else:
        first, *others = holder.inputs
        inputs = (first.model_copy(update=change["inputs"]), *others)
        holder = holder.model_copy(update={"inputs": inputs})
    with pytest.raises(GateError, match=sentence):
        measure_version(store, spec, collect_code(spec), holder, second, run=run_never)


def test_version_is_not_compared_by_the_metrics_of_other_code(store, spec, tmp_path):
    (tmp_path / "model.py").write_text(MODEL.replace('"accuracy"', '"accuracy", "mae"'))
    with pytest.raises(GateError, match=r"version 2 of model 'houses' was made with other model c"):
        measured(store, spec, resolve(store, "houses", version=2), run=run_never)
