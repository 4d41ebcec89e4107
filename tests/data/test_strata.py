import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data import strata
from shardline.data.strata import StrataTally, sides_by_stratum
from shardline.errors import DataError

SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}
NAMES = ("train", "validation", "test")
sizes = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 60), min_size=1)


def sided(labels, hashes):
    tally = StrataTally("y")
    tally.add(pa.array(labels), hashes)
    return sides_by_stratum(pa.array(labels), hashes, tally.bounds(SHARES), NAMES)


def rows(counts, seed=0):
    labels = [name for name, count in counts.items() for _ in range(count)]
    return labels, np.random.default_rng(seed).integers(0, 2**64, len(labels), np.uint64)


@settings(deadline=None)
@given(sizes)
def test_strata_every_class_is_divided_to_a_row(counts):
    labels, hashes = rows(counts)
    sides = sided(labels, hashes)
    for name, count in counts.items():
        found = np.bincount(sides[np.array(labels) == name], minlength=3)
        assert np.abs(found - count * np.array([0.7, 0.2, 0.1])).max() <= 1


@settings(deadline=None)
@given(sizes, st.integers(0, 30))
def test_strata_added_rows_move_at_most_as_many_across_each_bound(counts, added):
    labels, hashes = rows(counts)
    more, further = rows({"a": added}, seed=1)
    before = sided(labels, hashes)
    after = sided(labels + more, np.concatenate([hashes, further]))[: len(labels)]
    assert np.abs(after - before).sum() <= 2 * added
    others = np.array(labels) != "a"
    assert np.array_equal(before[others], after[others])


def test_strata_merged_equal_those_of_all_rows(monkeypatch):
    monkeypatch.setattr(strata, "EXACT_ROWS", 50)
    labels, hashes = rows({"a": 40, "b": 80, "c": 5})
    whole, left, right = StrataTally("y"), StrataTally("y"), StrataTally("y")
    whole.add(pa.array(labels), hashes)
    left.add(pa.array(labels[:70]), hashes[:70])
    right.add(pa.array(labels[70:]), hashes[70:])
    left.merge(pickle.loads(pickle.dumps(right)))
    for name, bounds in whole.bounds(SHARES).items():
        assert left.bounds(SHARES)[name].tolist() == bounds.tolist()


def test_strata_large_classes_are_divided_by_plain_hash(monkeypatch):
    monkeypatch.setattr(strata, "EXACT_ROWS", 10)
    labels, hashes = rows({"a": 100})
    assert sided(labels, hashes).tolist() == [
        int(h >= 0.7 * 2**64) + int(h >= 0.9 * 2**64) for h in hashes.tolist()
    ]


def test_strata_of_too_many_values_are_refused(monkeypatch):
    monkeypatch.setattr(strata, "MAX_STRATA", 3)
    with pytest.raises(DataError, match="label 'y' has more than 3 different values, which are no"):
        sided(list("abcd"), np.arange(4, dtype=np.uint64))


def test_strata_rows_that_are_alike_stay_together_on_the_nearer_side():
    labels, hashes = rows({"a": 100})
    hashes[:] = 7
    assert sided(labels, hashes).tolist() == [0] * 100
    hashes[:5], hashes[95:] = 1, 9
    assert np.bincount(sided(labels, hashes), minlength=3).tolist() == [95, 0, 5]
    hashes[:50] = np.arange(50) + 10  # 45 rows, then 5, then 50 of their own
    assert np.bincount(sided(labels, hashes), minlength=3).tolist() == [70, 20, 10]


def test_strata_the_half_of_a_row_goes_to_the_earlier_split():
    tally = StrataTally("y")
    classes = pa.array(list("abbbccccc"))
    hashes = np.arange(9, dtype=np.uint64)
    tally.add(classes, hashes)
    bounds = tally.bounds({"train": 0.5, "test": 0.5})
    found = sides_by_stratum(classes, hashes, bounds, ("train", "test"))
    assert found.tolist() == [0, 0, 0, 2, 0, 0, 0, 2, 2]
