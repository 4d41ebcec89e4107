"""Which rows an export is tried with, from a real store; no TensorFlow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sample_datasets import write_dataset

from shardline.artifacts import golden
from shardline.artifacts.golden import golden_rows, read_trial_rows
from shardline.data.schema import Column, Label
from shardline.data.treatment import Treatment
from shardline.store import Store

X = Column(name="x", dtype="float32")
GRID = Column(name="grid", dtype="float32", shape=(2, 3))
CITY = Column(name="city", dtype="string")
Y = Label(name="y", dtype="int64", vocabulary=("no", "yes"))


def values(rows, start=0):
    x = np.arange(start, start + rows, dtype=np.float32)
    return {
        "x": x,
        "grid": np.repeat(x, 6).reshape(-1, 2, 3),
        "city": [f"city {number:g}" for number in x],
        "y": x.astype(np.int64) % 2,
    }


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"train": 100, "test": 70, "validation": 80}, ("test", 70, 0)),
        ({"train": 100, "validation": 80}, ("validation", 80, 0)),
        ({"train": 100, "test": 5}, ("test", 5, 59)),
        ({"train": 10, "test": 5}, ("test", 5, 10)),
        ({"train": 100}, ("test", 0, 64)),
        ({"train": 100, "test": 3000}, ("test", 2048, 0)),
    ],
)
def test_trial_rows_are_held_out_ones_and_train_ones_where_these_are_few(store, splits, expected):
    starts = {"train": 0, "test": 10_000, "validation": 20_000}
    parts = {name: values(rows, starts[name]) for name, rows in splits.items()}
    dataset = write_dataset(store, [X, CITY, GRID], Y, parts)
    rows = read_trial_rows(store, dataset, [CITY, X])
    held_out, count, trained = expected
    assert rows.num_held_out == count
    numbers = np.r_[starts[held_out] : starts[held_out] + count, 0:trained]
    np.testing.assert_array_equal(rows.columns["x"][:, 0], numbers)
    assert rows.columns["city"].tolist() == [[f"city {float(n):g}"] for n in numbers]
    np.testing.assert_array_equal(rows.columns["y"][:, 0], numbers % 2)
    assert set(rows.columns) == {"city", "x", "y"}


def test_trial_rows_fit_in_memory(store, monkeypatch):
    dataset = write_dataset(store, [X, GRID], Y, {"train": values(9), "test": values(90)})
    monkeypatch.setattr(golden, "MAX_BYTES", 10 * (24 + 8) + 1)
    assert read_trial_rows(store, dataset, [GRID]).num_held_out == 10
    monkeypatch.setattr(golden, "MAX_BYTES", 1)
    assert read_trial_rows(store, dataset, [GRID]).num_held_out == 1


def test_trial_rows_hold_what_indicators_speak_of(store):
    gone = Column(name="gone", dtype="int64", indicates="x", treatment=Treatment(fill=1.0))
    parts = {"train": {"x": values(9)["x"], "y": values(9)["y"], "gone": np.zeros(9, np.int64)}}
    dataset = write_dataset(store, [X, gone], Y, parts)
    assert set(read_trial_rows(store, dataset, [gone]).columns) == {"gone", "x", "y"}


def test_golden_rows_hold_ends_of_numbers_and_texts_and_each_of_few_values():
    rng = np.random.default_rng(0)
    number = rng.uniform(-1, 1, (2000, 1))
    grid = rng.uniform(-1, 1, (2000, 2, 3))
    text = np.array([[f"text {i % 1000}"] for i in range(2000)], dtype=object)
    kind = np.zeros((2000, 1), np.int64)
    number[700], number[800], grid[900, 1, 2], grid[1000, 0, 0] = 5, -5, 7, -7
    text[1100, 0], text[1200, 0], kind[1300], kind[1400] = "", "länger" * 9, 1, 7
    rows = golden_rows({"number": number, "grid": grid, "text": text, "kind": kind})
    assert set(range(700, 1500, 100)) < set(rows)
    # The others are the first rows.
    assert len(rows) == 64
    assert [row for row in rows if row < 700] == list(range(len(rows) - 8))


@given(
    rows=st.integers(0, 90),
    columns=st.integers(1, 80),
    most=st.integers(1, 64),
    seed=st.integers(0, 9),
)
def test_golden_rows_are_distinct_ascending_and_as_many_as_there_can_be(rows, columns, most, seed):
    rng = np.random.default_rng(seed)
    arrays = {f"c{i}": rng.normal(size=(rows, 1)) for i in range(columns)}
    chosen = golden_rows(arrays, most=most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(rows, most)
    assert all(0 <= row < rows for row in chosen)
