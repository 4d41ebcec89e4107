"""What is evaluated and exported stays where it is until it is, whatever the run does meanwhile."""

import numpy as np
import pytest
from tests.checkpoints import commit, tensors_of
from tests.sample_datasets import spec_for, write_dataset
from tests.sample_registry import AUTHOR, point, publish_versions

from shardline.artifacts.aliases import read_alias
from shardline.artifacts.candidate import held_candidate
from shardline.artifacts.checkpoint import Cursor, list_checkpoints, read_tensors
from shardline.artifacts.evaluation import EvaluationManifest
from shardline.artifacts.export import ExportResult
from shardline.artifacts.release import Gate, export_run, promote_version
from shardline.artifacts.rollback import roll_back
from shardline.data.schema import Column, Label
from shardline.errors import NotFoundError
from shardline.evaluation.driver import evaluate_run
from shardline.model.code import collect_code
from shardline.store import open_store


def build(features):
    """The builder of the run's model; nothing here calls it."""


@pytest.fixture
def line(tmp_path):
    """Store, spec and code of a run with checkpoints at 10, 20 and 30; that of 20 is the best."""
    store = open_store(f"file://{tmp_path}/store")
    values = {"x": np.zeros(4, "float32"), "y": np.zeros(4, "float32")}
    features, label = [Column(name="x", dtype="float32")], Label(name="y", dtype="float32")
    dataset = write_dataset(store, features, label, {"train": values, "test": values})
    policy = {"keep": 1, "monitor": {"metric": "loss"}}
    spec = spec_for(store, dataset, build, train={"checkpoint": policy})
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0)):
        go_on(store, spec, step, loss)
    return store, spec, collect_code(spec)


def go_on(store, spec, step, loss, keep=None):
    commit(
        store, step, keep=keep, run=spec.run_name, dataset="tiny", dataset_version="v1",
        cursor=Cursor(epoch=step // 10, step=0), history=({"epoch": step // 10 - 1, "loss": loss},),
    )  # fmt: skip


def steps(store, spec):
    return [checkpoint.step for checkpoint in list_checkpoints(store, spec.run_name)]


@pytest.mark.parametrize(("step", "expected"), [(None, 20), (10, 10), (30, 30)])
def test_candidate_is_held_while_the_run_goes_on(line, step, expected):
    store, spec, code = line
    with held_candidate(store, spec, code, reader="test", step=step) as candidate:
        go_on(store, spec, 40, 4.0, keep=1)
        assert candidate.checkpoint.step == expected
        assert steps(store, spec) == [expected, 40]
        found = read_tensors(store, candidate.checkpoint)
    assert found.keys() == tensors_of(expected).keys()
    go_on(store, spec, 50, 4.0, keep=1)
    assert steps(store, spec) == [50]


def test_candidate_of_a_step_that_is_not_there_says_which_are(line):
    store, spec, code = line
    with (
        pytest.raises(NotFoundError, match=r"no checkpoint of step 7 .* of steps 10, 20, 30\."),
        held_candidate(store, spec, code, reader="test", step=7),
    ):
        pytest.fail("there is none")


def test_evaluate_measures_the_step_asked_for_while_it_is_held(line):
    store, spec, code = line

    def measure(_function, candidate, split):
        go_on(store, spec, 40, 4.0, keep=1)
        return EvaluationManifest(
            run=spec.run_name, step=candidate.checkpoint.step,
            checkpoint_digest=candidate.checkpoint.digest, builder_digest="b", dataset="tiny",
            dataset_version="v1", split=split, rows=4, metrics={"loss": 1.0}, created_unix_s=0.0,
        )  # fmt: skip

    result = evaluate_run(store, spec, code, run=measure, step=10)
    assert result.checkpoint.endswith("step-00000010")
    assert steps(store, spec) == [10, 40]


def test_export_freezes_the_step_asked_for_while_it_is_held(line):
    store, spec, code = line

    def freeze(_function, candidate, *_):
        go_on(store, spec, 40, 4.0, keep=1)
        assert steps(store, spec) == [30, 40]
        uri = store.uri_of(candidate.checkpoint.key)
        return ExportResult(model="m", version=1, uri=uri, parity=0.0, alias=None, reused=False)

    assert export_run(store, spec, code, run=freeze, step=30).uri.endswith("step-00000030")


@pytest.fixture
def export_again(line):
    """Exports that find the version of a number, with `live` as the spec's alias."""
    store, spec, code = line
    publish_versions(store, 1, 2)
    export = spec.export.model_copy(update={"alias": "live"})
    spec = spec.model_copy(update={"export": export})

    def again(version, *, reused=True):
        found = ExportResult("tiny", version, "uri", 0.0, alias=None, reused=reused)
        return export_run(store, spec, code, run=lambda *_: found)

    return again


def test_export_of_a_version_that_was_rolled_back_leaves_the_alias(line, export_again, caplog):
    store, spec, _ = line
    point(store, 1)
    assert export_again(2).alias == "live"
    roll_back(store, "tiny", "live", to=None, why="bad", author=AUTHOR)
    assert export_again(2).alias is None
    assert read_alias(store, "tiny", "live").version == 1
    assert caplog.messages == [
        "alias 'live' of model 'tiny' stays at version 1: version 2 held it before and is no new "
        "one; move it with `shardline promote --version 2`."
    ]
    promote_version(store, spec, Gate(), version=2, alias="live", why="it was good")
    assert (export_again(2).alias, read_alias(store, "tiny", "live").version) == ("live", 2)


def test_export_of_an_old_step_does_not_take_the_alias_back(line, export_again):
    store, *_ = line
    point(store, 1)
    point(store, 2)
    assert export_again(1).alias is None
    assert read_alias(store, "tiny", "live").version == 2
    assert export_again(1, reused=False).alias == "live"
