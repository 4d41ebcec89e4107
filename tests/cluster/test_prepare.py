"""Preparing on a real Ray: the same units as tasks, the same dataset."""

import time

import pytest
from tests.data.preparing import manifest_of, prepare, quarantined
from tests.raw_sources import SPLIT, spec_for, table_csv, write_csv

from shardline.cluster.tasks import map_on_workers, num_nodes
from shardline.data import passes
from shardline.errors import DataError


@pytest.fixture
def tasks(ray_session, monkeypatch):
    """Small sources, too, go to the cluster; how often they did."""
    calls = []
    monkeypatch.setattr(passes, "MIN_CLUSTER_BYTES", 0)
    monkeypatch.setattr("shardline.data.origin.UNIT_BYTES", 2000)
    on_workers = passes.map_on_workers

    def counted(function, inputs):
        calls.append(len(inputs))
        return on_workers(function, inputs)

    monkeypatch.setattr(passes, "map_on_workers", counted)
    return calls


def test_prepare_as_ray_tasks_makes_the_same_dataset(tmp_path, tasks, monkeypatch):
    write_csv(tmp_path / "raw.csv", table_csv(300) + "r300,bad,300,600\n")

    def manifest(store):
        spec = spec_for(
            tmp_path, "csv", "raw.csv", store=store, features={"x": {"dtype": "float32"}},
            split={"key": "id", "fractions": SPLIT},
        )  # fmt: skip
        result = prepare(spec)
        assert [row["row"] for row in quarantined(spec, result)] == [301]
        return manifest_of(spec, result)

    assert num_nodes() == 1
    found = manifest("one")
    assert len(tasks) == 5  # read, deal, and write three splits
    assert tasks[0] > 1
    monkeypatch.setattr(passes, "MIN_CLUSTER_BYTES", 1 << 40)
    assert manifest("two") == found
    assert len(tasks) == 5


def test_prepare_mistake_found_in_a_ray_task_is_a_sentence(tmp_path, tasks):
    write_csv(tmp_path / "raw/a.csv", table_csv(10))
    write_csv(tmp_path / "raw/b.csv", "x,z\n1,2\n")
    with pytest.raises(DataError, match=r"^b\.csv has no label 'y'; its columns are x, z\.$"):
        prepare(spec_for(tmp_path, "csv", "raw"))
    assert tasks == [2]


def test_results_that_are_given_up_leave_no_task_at_work(tmp_path, ray_session):
    def work(number):
        if number == 0:
            return
        try:
            (tmp_path / f"{number} began").touch()
            for _ in range(6000):  # Ray interrupts between Python's steps, not inside a call
                time.sleep(0.01)
        finally:
            time.sleep(0.5)  # what a task does that is in the middle of a write
            (tmp_path / f"{number} ended").touch()

    results = map_on_workers(work, range(4))
    next(results)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("* began")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    results.close()
    ended = {path.name.split()[0] for path in tmp_path.glob("* ended")}
    assert {path.name.split()[0] for path in tmp_path.glob("* began")} <= ended
