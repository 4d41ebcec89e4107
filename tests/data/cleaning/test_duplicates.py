import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.cleaning.duplicates import duplicate_positions

rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40)


def kept(some):
    array = np.array(some, np.uint64).reshape(-1, 2)
    rejected = duplicate_positions(array[:, 0], array[:, 1])
    return [row for place, row in enumerate(some) if place not in rejected]


@settings(deadline=None)
@given(rows)
def test_duplicates_one_row_of_every_key_stays(some):
    assert sorted(key for key, _ in kept(some)) == sorted({key for key, _ in some})


@settings(deadline=None)
@given(rows, st.randoms())
def test_duplicates_the_same_row_stays_in_any_order(some, random):
    assert sorted(kept(some)) == sorted(kept(random.sample(some, len(some))))


def test_duplicates_adding_rows_keeps_or_replaces_the_row_of_their_keys_only():
    assert kept([(1, 5), (2, 7)]) == [(1, 5), (2, 7)]
    assert kept([(1, 5), (2, 7), (1, 3)]) == [(2, 7), (1, 3)]
