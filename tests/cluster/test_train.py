"""Training on real Ray workers: the number of workers changes the speed, never the result."""

import numpy as np
import pytest
from tests.lines import classifier_line, prepared, trained

from shardline.artifacts.checkpoint import find_checkpoint, read_tensors
from shardline.errors import ModelError, ResourceError, SpecError
from shardline.store import Store

pytestmark = pytest.mark.usefixtures("ray_session")


def final_tensors(spec):
    store = Store(spec.store)
    return read_tensors(store, find_checkpoint(store, spec.run_name))


@pytest.fixture(scope="module")
def alone(ray_session, tmp_path_factory):
    """A run of one worker, and the folder it happened in."""
    folder = tmp_path_factory.mktemp("line")
    spec = classifier_line(folder)
    prepared(spec)
    return folder, spec, trained(spec)


@pytest.mark.parametrize("transport", ["ring", "collective"])
def test_train_two_workers_give_the_result_of_one(alone, transport):
    folder, spec, result = alone
    pair = classifier_line(
        folder, **{"train.workers": 2, "train.run": transport, "train.exchange": transport}
    )
    both = trained(pair)
    assert [entry["epoch"] for entry in both.history] == [0, 1, 2]
    for ours, theirs in zip(both.history, result.history, strict=True):
        assert ours.keys() == theirs.keys() >= {"loss", "accuracy", "val_loss", "val_accuracy"}
        for name, value in ours.items():
            assert value == pytest.approx(theirs[name], rel=1e-5), name
    tensors, expected = final_tensors(pair), final_tensors(spec)
    assert tensors.keys() == expected.keys()
    for name, array in tensors.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-4, err_msg=name)


def test_train_validation_metrics_are_those_of_all_rows(alone):
    _, spec, result = alone
    from shardline.data.manifest import load_dataset

    rows = load_dataset(Store(spec.store), "toy").split("validation").rows
    hits = result.history[-1]["val_accuracy"] * rows
    assert hits == pytest.approx(round(hits), abs=1e-3)


def test_train_finished_run_does_nothing_and_says_the_same(alone):
    _, spec, result = alone
    assert trained(spec) == result


def test_train_more_epochs_continue_the_run(alone):
    folder, _, result = alone
    longer = trained(classifier_line(folder, **{"train.epochs": 4}))
    assert [entry["epoch"] for entry in longer.history] == [0, 1, 2, 3]
    assert longer.history[:3] == result.history


def test_train_other_seed_under_the_same_run_is_refused(alone):
    folder, *_ = alone
    with pytest.raises(SpecError, match=r"run 'toy' was begun with another train\.seed"):
        trained(classifier_line(folder, **{"train.seed": 4}))


def test_train_builder_mistake_comes_back_as_a_sentence_without_restarts(alone, tmp_path):
    folder, *_ = alone
    pids = tmp_path / "pids"
    spec = classifier_line(
        folder,
        **{"train.workers": 2, "train.run": "bad", "model.params": {"pid_file": str(pids), "x": 1}},
    )
    with pytest.raises(ModelError, match=r"raised TypeError: .*unexpected keyword argument 'x'"):
        trained(spec)


def test_train_more_workers_than_the_cluster_holds_is_refused_before_anything_starts(alone):
    folder, *_ = alone
    spec = classifier_line(
        folder, **{"train.workers": 16, "train.run": "big", "train.global_batch": 16}
    )
    with pytest.raises(ResourceError, match=r"16 workers"):
        trained(spec)
    assert not list(Store(spec.store).scan("runs/big/ray"))


def test_train_restart_that_cannot_start_discards_nothing(alone):
    folder, spec, _ = alone
    before = list(Store(spec.store).scan("runs/toy/"))
    with pytest.raises(ResourceError):
        trained(classifier_line(folder, **{"train.workers": 16}), restart=True)
    assert list(Store(spec.store).scan("runs/toy/")) == before
