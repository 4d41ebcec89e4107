"""What is handed to the machines of a cluster; they are played by this process."""

import pickle

import pytest
from tests.data.preparing import manifest_of, prepare
from tests.raw_sources import spec_for, table_csv, upload, write_csv

from shardline.data import passes
from shardline.data import prepare as preparing

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


@pytest.fixture
def cluster(monkeypatch):
    """Sets the number of nodes; gives the functions and inputs that went to tasks, pickled."""
    handed = []

    def as_tasks(function, inputs):
        handed.append((pickle.dumps(function), [pickle.dumps(each) for each in inputs]))
        function, inputs = pickle.loads(handed[-1][0]), map(pickle.loads, handed[-1][1])
        for given in inputs:
            function(given)  # by a worker that dies before its result arrives
            yield function(given)

    def start(nodes):
        monkeypatch.setattr(passes, "MIN_CLUSTER_BYTES", 0)
        monkeypatch.setattr("shardline.data.origin.UNIT_BYTES", 40_000)
        for module in (passes, preparing):
            monkeypatch.setattr(module, "num_nodes", lambda: nodes)
        monkeypatch.setattr(passes, "map_on_workers", as_tasks)
        return handed

    return start


def names(handed):
    return [pickle.loads(function).func.__name__ for function, _ in handed]


@pytest.mark.parametrize("reuse", [False, True])
def test_tasks_can_be_repeated_and_are_sent_nothing_of_other_units(tmp_path, cluster, reuse):
    write_csv(tmp_path / "raw/large.csv", table_csv(8000))
    for number in range(50):
        write_csv(tmp_path / f"raw/small-{number}.csv", table_csv(1, first=8000 + number))
    rules = {"split": {"by": "time", "time": "n", "fractions": FRACTIONS}, "reuse": reuse}
    here = spec_for(tmp_path, "csv", "raw", store="here", keep=["n"], **rules)
    expected = manifest_of(here, prepare(here))
    handed = cluster(nodes=1)
    there = spec_for(tmp_path, "csv", "raw", store="there", keep=["n"], **rules)
    assert manifest_of(there, prepare(there)) == expected
    assert names(handed)[:2] == ["take_in", "deal_piece"]
    assert max(len(function) for function, _ in handed) < 2500
    assert max(len(each) for _, inputs in handed[:2] for each in inputs) < 2500


def test_files_of_this_machine_are_read_by_no_other(tmp_path, cluster):
    write_csv(tmp_path / "raw.csv", table_csv(100))
    handed = cluster(nodes=2)
    prepare(spec_for(tmp_path, "csv", "raw.csv"))
    assert "take_in" not in names(handed)
    assert {"deal_piece", "write_shard"} == set(names(handed))


def test_what_python_makes_is_read_by_no_other_machine(tmp_path, cluster):
    write_csv(
        tmp_path / "maker.py",
        "import pyarrow as pa\n\ndef rows():\n    yield pa.table({'x': [1.0, 2.0], 'y': [1, 2]})\n",
    )
    handed = cluster(nodes=2)
    assert prepare(spec_for(tmp_path, "python", "maker.py:rows")).rows_kept == 2
    assert "take_in" not in names(handed)


def test_objects_on_s3_are_read_by_all_machines(tmp_path, cluster, s3_store):
    write_csv(tmp_path / "raw/a.csv", table_csv(100))
    upload(s3_store, tmp_path / "raw", "raw")
    handed = cluster(nodes=2)
    spec = spec_for(tmp_path, "csv", f"{s3_store.uri}/raw", store=s3_store.uri)
    prepare(spec, store=s3_store)
    assert names(handed)[0] == "take_in"
