"""What a run writes down about itself, read back with the tools that people use."""

import json
import logging
import os

import numpy as np
import pytest
from tests.lines import classifier_line, prepared

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.artifacts.checkpoint_removal import delete_checkpoints
from shardline.artifacts.journal import journal_key, read_journal, tensorboard_folder
from shardline.data.manifest import load_dataset
from shardline.errors import SpecError
from shardline.model.code import collect_code
from shardline.store import Store
from shardline.training.journal.data_wait import DataWait
from shardline.training.journal.mlflow_log import MlflowLog, check_mlflow, mlflow_log
from shardline.training.journal.progress import progress_key
from shardline.training.task import WorkerTask
from shardline.training.worker import train_worker

STEPS_PER_EPOCH = 13
OPTIONS = {"train.checkpoint.every_steps": 5, "train.checkpoint.keep": 100}


def task_of(spec):
    spec = spec.located()
    return WorkerTask(spec, load_dataset(Store(spec.store), spec.name), collect_code(spec))


def run(spec):
    outcome = train_worker({"task": task_of(spec)})
    assert outcome.refusal is None, outcome.refusal
    return outcome.history


def scalars_of(store, run_name, folder):
    """(tag, step) to value of every event that stock readers see, and the number of events."""
    import tensorflow as tf

    found, count = {}, 0
    for entry in store.scan(f"{tensorboard_folder(run_name)}/{folder}/"):
        path = f"{store.uri.removeprefix('file://')}/{entry.key}"
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
                count += 1
    return found, count


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three epochs."""
    folder = tmp_path_factory.mktemp("line")
    spec = classifier_line(folder, **OPTIONS)
    prepared(spec)
    return spec, run(spec)


def check_written(store, history):
    """Journal and events say what the history says, each epoch once."""
    lines = [line for line in read_journal(store, "toy") if line.kind == "epoch"]
    assert [{"epoch": line.epoch, **line.logs} for line in lines] == history
    assert [line.step for line in lines] == [STEPS_PER_EPOCH * (n + 1) for n in range(len(history))]
    train, num_train = scalars_of(store, "toy", "train")
    validation, num_validation = scalars_of(store, "toy", "validation")
    assert len(train) == num_train
    assert len(validation) == num_validation == 2 * len(history)
    for entry in history:
        for name in ("loss", "accuracy"):
            at = (f"epoch_{name}", entry["epoch"])
            assert train[at] == pytest.approx(entry[name])
            assert validation[at] == pytest.approx(entry[f"val_{name}"])
    return lines


def test_journal_has_every_epoch_with_its_speed(finished):
    spec, history = finished
    lines = check_written(Store(spec.store), history)
    for line in lines:
        assert line.seconds > 0
        rows = STEPS_PER_EPOCH * 16
        assert line.rows_per_s == pytest.approx(rows / line.seconds)
        assert 0 <= line.data_wait <= 1
        assert line.learning_rate == pytest.approx(0.01)
    assert lines[0].unix_s < lines[-1].unix_s
    report = json.loads(Store(spec.store).read(progress_key("toy")))
    assert (report["step"], report["epochs_done"]) == (3 * STEPS_PER_EPOCH, 3)
    assert report["logs"] == lines[-1].logs


def test_resumed_run_has_every_epoch_once(tmp_path):
    spec = classifier_line(tmp_path, **OPTIONS)
    prepared(spec)
    history = run(spec)
    store = Store(spec.store)
    before = read_journal(store, "toy")
    checkpoints = list_checkpoints(store, "toy")
    cut = next(i for i, c in enumerate(checkpoints) if c.cursor.epoch == 1 and c.cursor.step)
    delete_checkpoints(store, checkpoints[cut + 1 :])

    assert run(spec) == [pytest.approx(entry, rel=1e-6) for entry in history]
    after = check_written(store, run(spec))
    assert after[0] == before[0]
    assert after[1].seconds != before[1].seconds


def test_journal_that_is_lost_is_made_anew_from_the_checkpoint(finished):
    spec, history = finished
    store = Store(spec.store)
    store.write(journal_key("toy"), b"\0not a journal\n")
    assert run(spec) == history
    lines = [line for line in read_journal(store, "toy") if line.kind == "epoch"]
    assert [{"epoch": line.epoch, **line.logs} for line in lines] == history
    assert {line.seconds for line in lines} == {None}


def test_journal_lies_in_a_bucket_too(s3_store, tmp_path):
    spec = classifier_line(tmp_path, store=s3_store.uri, **{"train.epochs": 1})
    prepared(spec)
    (entry,) = run(spec)
    (line,) = read_journal(s3_store, "toy")
    assert {"epoch": 0, **line.logs} == entry
    names = [entry.key for entry in s3_store.scan(f"{tensorboard_folder('toy')}/")]
    assert [name.split("/")[-2] for name in names] == ["train", "validation"]


def test_notes_that_cannot_be_written_stop_nothing(tmp_path, monkeypatch, caplog):
    spec = classifier_line(tmp_path, **{"train.epochs": 1})
    prepared(spec)
    write = Store.write

    def full(store, key, data, **options):
        if "metrics.jsonl" in key or "tensorboard" in key:
            raise OSError(28, "No space left on device")
        write(store, key, data, **options)

    monkeypatch.setattr(Store, "write", full)
    with caplog.at_level(logging.WARNING):
        assert len(run(spec)) == 1
    assert "metrics.jsonl could not be written: [Errno 28]" in caplog.text


# Waiting for data


@pytest.mark.parametrize(("source_s", "step_s"), [(0.1, 0.0), (0.0, 0.1)])
def test_data_wait_tells_a_slow_source_from_a_slow_step(source_s, step_s):
    import time

    import keras
    import tensorflow as tf

    def batches():
        for _ in range(15):
            time.sleep(source_s)
            yield np.zeros((4, 2), "float32")

    spec = tf.TensorSpec((None, 2), "float32")
    stream = tf.data.Dataset.from_generator(batches, output_signature=spec)
    wait = DataWait()
    measured = wait.measured(stream.map(lambda x: (x, x)).prefetch(4))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(step_s))
    model.fit(measured, steps_per_epoch=1, epochs=1, verbose=0)  # traced
    before, began_s = wait.seconds, time.monotonic()
    model.fit(measured, steps_per_epoch=15, epochs=1, verbose=0, callbacks=[slow])
    share = (wait.seconds - before) / (time.monotonic() - began_s)
    assert share > 0.5 if source_s else share < 0.2


# MLflow


@pytest.fixture
def tracking(tmp_path, monkeypatch):
    """A real tracking store in a folder, and a client to look into it."""
    from mlflow.tracking import MlflowClient

    uri = f"file:{tmp_path}/mlruns"
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(tracking_uri=uri)


def test_mlflow_gets_every_epoch_once_over_all_commands(finished, tracking):
    spec, _ = finished
    run(spec)  # the journal may be another test's
    store, task = Store(spec.store), task_of(spec)
    mlflow_log(store, task)("FAILED")
    mlflow_log(store, task)("FINISHED")  # the same command again
    experiment = tracking.get_experiment_by_name("toy")
    (logged,) = tracking.search_runs([experiment.experiment_id])
    assert logged.info.status == "FINISHED"
    lines = [line for line in read_journal(store, "toy") if line.kind == "epoch"]
    for name in ("loss", "val_accuracy"):
        values = tracking.get_metric_history(logged.info.run_id, name)
        assert [(v.step, v.value) for v in values] == [
            (line.epoch, line.logs[name]) for line in lines
        ]
    assert logged.data.params["train.global_batch"] == "16"
    assert logged.data.params["model.builder"] == "model:build"
    assert logged.data.tags["shardline.dataset_version"] == task.dataset.version
    assert logged.data.tags["shardline.code_digest"] == task.code.digest


def test_mlflow_that_does_not_answer_is_one_warning(finished, caplog, monkeypatch):
    spec, _ = finished
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log = MlflowLog(Store(spec.store), task_of(spec), uri="http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING, logger="shardline"):
        log("FAILED")
        log("FAILED")
    assert [r.getMessage()[:48] for r in caplog.records if "MLflow" in r.getMessage()] == [
        "MLflow at http://127.0.0.1:9 takes no logs: API "
    ]


def test_mlflow_that_is_not_installed_is_refused_before_training(monkeypatch):
    monkeypatch.setattr("shardline.training.journal.mlflow_log.find_spec", lambda name: None)
    with pytest.raises(
        SpecError, match=r"mlflow is not installed: pip install 'shardline\[mlflow\]"
    ):
        check_mlflow({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    check_mlflow({})


def test_mlflow_is_left_alone_unless_asked_for(finished, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    spec, _ = finished
    check_mlflow(os.environ)
    assert mlflow_log(Store(spec.store), task_of(spec)) is None
