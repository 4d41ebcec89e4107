"""Batch scoring on a real Ray: exact counts, also when a worker is killed or two drivers race."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.sample_datasets import candidate_of, write_dataset

from shardline.artifacts.export import export_version
from shardline.artifacts.predictor import load_predictor
from shardline.artifacts.registry import resolve
from shardline.data.schema import Column, Label
from shardline.errors import IntegrityError
from shardline.progress import SilentProgress
from shardline.scoring.commit import committed_parts
from shardline.scoring.driver import plan_job, run_plan
from shardline.spec.locations import local_path
from shardline.store import Store

X = Column(name="x", dtype="float32")
Y = Label(name="y", dtype="float32")
NUM_ROWS = 6_000
ROWS_PER_SHARD = 40
DEADLINE_S = 120.0


def build(features):
    import keras

    hidden = keras.layers.Dense(8, activation="tanh")(features["x"].input)
    model = keras.Model(features.inputs, keras.layers.Dense(1, name="answer")(hidden))
    model.compile(loss="mse")
    return model


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A store with a dataset of many shards and an exported model."""
    store = Store(f"file://{tmp_path_factory.mktemp('line')}/store")
    x = np.linspace(-3, 3, NUM_ROWS, dtype=np.float32)
    values = {"x": x, "y": x, "id": [f"row-{i}" for i in range(NUM_ROWS)]}
    dataset = write_dataset(
        store,
        [X],
        Y,
        {"train": values},
        carried=["id"],
        rows_per_group=ROWS_PER_SHARD,
        groups_per_shard=1,
    )
    candidate = candidate_of(store, dataset, build, score={"keep": ["id"], "batch": 1})
    export_version(candidate)
    return candidate


def new_output(line, tmp_path):
    """The line's spec with an output of this test alone."""
    section = line.spec.score.model_copy(update={"output": f"file://{tmp_path}/answers"})
    return line.spec.model_copy(update={"score": section})


def score(line, spec):
    model = resolve(line.store, spec.model_name)
    return run_plan(plan_job(spec, store=line.store, model=model), progress=SilentProgress())


def answers_of(result):
    table = pq.read_table(local_path(result.output))
    order = np.argsort([int(text.removeprefix("row-")) for text in table["id"].to_pylist()])
    return table["id"].take(order).to_pylist(), table["answer"].to_numpy()[order]


def assert_every_row_once(result):
    assert (result.rows_read, result.rows_scored, result.rows_rejected) == (NUM_ROWS, NUM_ROWS, 0)
    ids, answers = answers_of(result)
    assert ids == [f"row-{i}" for i in range(NUM_ROWS)]
    return answers


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.01)
    return found


def scoring_processes():
    """Ids of processes below this one that are inside a scoring task right now."""
    parents, scoring = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, title = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
        if title.startswith(b"ray::score_unit_task"):
            scoring.append(int(folder.name))
    return [pid for pid in scoring if os.getpid() in ancestors(pid, parents)]


def ancestors(pid, parents):
    while pid in parents:
        pid = parents[pid]
        yield pid


def is_gone(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_score_agrees_with_the_predictor_and_a_rerun_does_nothing(line, ray_session, tmp_path):
    spec = new_output(line, tmp_path)
    result = score(line, spec)
    answers = assert_every_row_once(result)
    predictor = load_predictor(line.store, "tiny", 1, cache_dir=tmp_path / "cache")
    x = np.linspace(-3, 3, NUM_ROWS, dtype=np.float32)[:, None]
    np.testing.assert_allclose(answers, predictor.predict({"x": x})["answer"][:, 0], atol=1e-5)
    again = score(line, spec)
    assert (again.reused, again.rows_scored) == (NUM_ROWS // ROWS_PER_SHARD, NUM_ROWS)


def test_score_worker_killed_mid_job_counts_stay_exact(line, ray_session, tmp_path):
    spec = new_output(line, tmp_path)
    plan = plan_job(spec, store=line.store, model=resolve(line.store, "tiny"))
    killed = []

    def kill_one():
        wait_for(lambda: len(committed_parts(plan.job.output)) >= 3)
        (victim, *_) = wait_for(scoring_processes)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: is_gone(victim))
        killed.append(len(committed_parts(plan.job.output)))

    killer = threading.Thread(target=kill_one)
    killer.start()
    result = run_plan(plan, progress=SilentProgress())
    killer.join(DEADLINE_S)
    assert len(killed) == 1
    assert killed[0] < len(plan.units)  # the job was under way
    assert_every_row_once(result)


def test_score_two_drivers_at_once_make_one_output(line, ray_session, tmp_path):
    spec = new_output(line, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: score(line, spec), range(2))
    assert first.output == second.output
    for result in (first, second):
        assert_every_row_once(result)


def test_score_damaged_shard_fails_with_its_name(line, ray_session, tmp_path):
    key = "datasets/tiny/v1/train/part-00007.parquet"
    data = line.store.read(key)
    line.store.write(key, data[:100])
    try:
        with pytest.raises(IntegrityError, match=r"train/part-00007\.parquet is damaged"):
            score(line, new_output(line, tmp_path))
    finally:
        line.store.write(key, data)
    assert_every_row_once(score(line, new_output(line, tmp_path)))
