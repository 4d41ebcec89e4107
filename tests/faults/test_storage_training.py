"""Training whose store fails: it stops with a sentence, and the same command goes on."""

import numpy as np
import pytest
from tests.fault_proxy import Fault, FaultProxy
from tests.lines import classifier_line, prepared

from shardline.artifacts.checkpoint import list_checkpoints, read_tensors
from shardline.data.manifest import load_dataset
from shardline.errors import TrainingError
from shardline.model.code import collect_code
from shardline.store import Store, retrying
from shardline.training.task import WorkerTask
from shardline.training.worker import train_worker

OPTIONS = {"train.checkpoint.every_steps": 5, "train.epochs": 2}


def train(spec):
    dataset = load_dataset(Store(spec.store), spec.name)
    outcome = train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))})
    assert outcome.refusal is None, outcome.refusal


def end_state(spec):
    store = Store(spec.store)
    return read_tensors(store, list_checkpoints(store, spec.run_name)[-1])


def test_training_whose_store_fails_stops_and_continues_to_the_same_end(
    tmp_path, s3_store, s3_environment, monkeypatch
):
    calm = classifier_line(tmp_path, **OPTIONS, store=s3_store.uri, **{"train.run": "calm"})
    spec = classifier_line(tmp_path, **OPTIONS, store=s3_store.uri, **{"train.run": "hit"})
    prepared(spec)
    train(calm)

    def down_after_two_checkpoints(request):
        markers = [r for r in proxy.requests if r.method == "PUT" and "checkpoint.json" in r.path]
        return Fault("error", 503) if len(markers) > 2 else None

    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 2)
    with FaultProxy(s3_environment).running() as proxy:
        proxy.follow(down_after_two_checkpoints)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(TrainingError, match=r"^a checkpoint could not be written: ") as stopped:
            train(spec)
    assert stopped.value.exit_code == 1
    assert str(stopped.value).endswith(
        "answered 503 503; run it again; the earlier ones are intact."
    )

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_environment)
    assert [c.step for c in list_checkpoints(s3_store, "hit")] == [5, 10]
    train(spec)
    expected = end_state(calm)
    for name, array in end_state(spec).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
