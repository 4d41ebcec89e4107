import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.rows import RowLayout
from shardline.data.schema import Column
from shardline.data.split import (
    SplitTally,
    key_hashes,
    needs_fit,
    sampled,
    sides,
    sides_of,
    unfitted,
    unreadable_times,
)
from shardline.errors import DataError
from shardline.spec.split import SplitSpec

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
LAYOUT = RowLayout(
    features=(Column(name="x", dtype="int64"),),
    label=Column(name="y", dtype="string"),
    carried=("id", "t"),
    key="id",
)
keys = st.lists(st.text(max_size=6), unique=True, min_size=1, max_size=40)


def rows(ids, *, x=None, y=None, t=None):
    count = len(ids)
    return pa.table({
        "x": pa.array(range(count) if x is None else x, pa.int64()),
        "y": pa.array(["a"] * count if y is None else y, pa.string()),
        "id": pa.array(ids, pa.string()),
        "t": pa.array(map(str, range(count)) if t is None else t, pa.string()),
    })  # fmt: skip


def placed(table, **rule):
    """Sides of all rows by a rule that is fitted on them."""
    spec = SplitSpec(**{"fractions": SHARES, **rule})
    if not needs_fit(spec):
        return sides_of(table, unfitted(spec), LAYOUT)
    tally = SplitTally(spec, LAYOUT)
    tally.add(table, first_row=0)
    return sides_of(table, tally.fitted(), LAYOUT)


def test_sides_of_a_key_are_the_same_in_every_release():
    table = rows([f"r{i}" for i in range(24)])
    assert "".join(map(str, placed(table, key="id"))) == "210202000202200010002000"


@settings(deadline=None, max_examples=30)
@given(keys, keys)
def test_sides_adding_rows_moves_none(old, new):
    together = placed(rows([*old, *new]), key="id")
    assert together[: len(old)].tolist() == placed(rows(old), key="id").tolist()


@settings(deadline=None, max_examples=30)
@given(keys, st.randoms())
def test_sides_order_of_rows_does_not_matter(ids, random):
    order = random.sample(range(len(ids)), len(ids))
    for rule in ({"key": "id"}, {}, {"by": "stratified"}, {"by": "stratified", "key": "id"}):
        table = rows(ids)
        assert placed(table, **rule)[order].tolist() == placed(table.take(order), **rule).tolist()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40))
def test_sides_of_a_group_are_one(groups):
    found = placed(rows(groups), by="group", key="id")
    assert len(set(zip(groups, found.tolist(), strict=True))) == len(set(groups))


def test_sides_without_a_key_follow_what_a_model_sees():
    one, other = rows(["a", "b", "c"], x=[1, 2, 3]), rows(["d", "e", "f"], x=[1, 2, 3])
    assert placed(one).tolist() == placed(other).tolist()


def test_sides_of_a_key_do_not_follow_its_type():
    table = rows(["1", "2", "3"], x=[1, 2, 3])
    assert placed(table, key="id").tolist() == placed(table, key="x").tolist()
    assert key_hashes(table, "id").tolist() == key_hashes(table, "x").tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 98), st.integers(0, 10**6))
def test_sides_shares_are_close_to_the_fractions(percent, seed):
    fractions = {"train": percent / 100, "test": 1 - percent / 100}
    hashes = np.random.default_rng(seed).integers(0, 2**64, 4000, np.uint64)
    # Six standard deviations of a binomial of 4,000 draws: at most 0.05.
    assert abs((sides(hashes, fractions) == 0).mean() - fractions["train"]) < 0.05


def test_sides_of_many_keys_have_their_shares():
    found = placed(rows([f"key-{i}" for i in range(20_000)]), key="id")
    assert np.abs(np.bincount(found) / 20_000 - [0.7, 0.1, 0.2]).max() < 0.015


def test_sides_without_a_fraction_stay_empty():
    extremes = np.array([0, 2**63, 2**64 - 1], np.uint64)
    assert sides(extremes, {"train": 1.0}).tolist() == [0, 0, 0]
    assert sides(extremes, {"train": 0.5, "test": 0.5}).tolist() == [0, 2, 2]
    thirds = {"train": 0.1 + 0.2, "validation": 0.7}
    assert sides(extremes, thirds).tolist() == [0, 1, 1]


def test_sides_by_time_ascend_and_their_boundaries_are_told():
    table = rows(list("abcdefghij"), t=[f"2024-01-{day:02d}" for day in range(10, 0, -1)])
    spec = SplitSpec(by="time", time="t", fractions=SHARES)
    tally = SplitTally(spec, LAYOUT)
    tally.add(table[:4], first_row=0)
    other = SplitTally(spec, LAYOUT)
    other.add(table[4:], first_row=4)
    tally.merge(pickle.loads(pickle.dumps(other)))
    split = pickle.loads(pickle.dumps(tally.fitted()))
    assert sides_of(table, split, LAYOUT).tolist() == [2, 2, 1, 0, 0, 0, 0, 0, 0, 0]
    assert split.moments == {
        "validation": "2024-01-08T00:00:00+00:00",
        "test": "2024-01-09T00:00:00+00:00",
    }


def test_sides_by_time_what_is_no_time_has_a_reason():
    table = rows(list("abcdef"), t=["1", "2", "x", "4", "2024-01-01", "3"])
    spec = SplitSpec(by="time", time="t", fractions=SHARES)
    tally = SplitTally(spec, LAYOUT)
    tally.add(table, first_row=0)
    split = tally.fitted()
    found = sides_of(table, split, LAYOUT)
    assert found.tolist() == [0, 0, -1, 2, -1, 1]
    assert unreadable_times(table, split, found) == {
        2: "time 't' is 'x', expected a number",
        4: "time 't' is '2024-01-01', expected a number",
    }


def test_sides_by_time_of_dates_beyond_the_calendar_have_a_reason():
    stamps = pa.array([0, 10**18, 10**12], pa.timestamp("us", "UTC"))
    spec = SplitSpec(by="time", time="t", boundaries={"test": "1970-01-02"})
    table, split = pa.table({"t": stamps}), unfitted(spec)
    found = sides_of(table, split, LAYOUT)
    assert found.tolist() == [0, -1, 2]
    reason = "time 't' is 1000000000000000000 in timestamp[us, tz=UTC], expected an ISO 8601 date"
    assert unreadable_times(table, split, found) == {1: f"{reason}, as 2026-03-31"}


def test_sides_by_declared_boundaries_need_no_fit():
    spec = SplitSpec(by="time", time="t", boundaries={"validation": 2, "test": 4})
    assert not needs_fit(spec)
    split = unfitted(spec)
    assert split.names == ("train", "validation", "test")
    assert sides_of(rows(list("abcdef")), split, LAYOUT).tolist() == [0, 0, 1, 1, 2, 2]
    assert split.moments == {"validation": 2.0, "test": 4.0}


def test_sides_stratified_have_the_shares_of_every_class():
    labels = ["rare"] * 10 + ["often"] * 90
    found = placed(rows([f"r{i}" for i in range(100)], y=labels), by="stratified")
    assert np.bincount(found[:10]).tolist() == [7, 1, 2]
    assert np.bincount(found[10:]).tolist() == [63, 9, 18]


def test_sides_of_a_key_that_is_no_value_are_refused():
    table = pa.table({"id": pa.array([[1], [2]])})
    with pytest.raises(DataError, match=r"data\.split\.key 'id' holds list<.*choose a column of"):
        key_hashes(table, "id")


@settings(deadline=None, max_examples=30)
@given(keys, st.floats(0.01, 1), st.floats(0.01, 1))
def test_sampled_at_a_larger_rate_takes_the_same_rows_and_more(ids, one, other):
    low, high = sorted([one, other])
    table = rows(ids)
    fewer, more = (sampled(table, rate, "id") for rate in (low, high))
    assert not (fewer & ~more).any()
    assert sampled(table, 1.0, "id").all()


def test_sampled_takes_whole_groups_at_about_the_rate_and_from_every_side():
    ids = [f"g{i // 2}" for i in range(20_000)]
    table = rows(ids)
    taken = sampled(table, 0.1, "id")
    assert (taken[::2] == taken[1::2]).all()
    assert abs(taken.mean() - 0.1) < 0.02
    shares = np.bincount(placed(table.filter(pa.array(taken)), key="id")) / taken.sum()
    assert np.abs(shares - [0.7, 0.1, 0.2]).max() < 0.06
