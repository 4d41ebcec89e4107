import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.leakage import leak, leaked

rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=40)


def arrays(some):
    array = np.array(some, np.uint64).reshape(-1, 2)
    return array[:, 0], array[:, 1].astype(np.int8)


@settings(deadline=None)
@given(rows)
def test_leaked_rows_are_those_that_an_earlier_split_has(some):
    hashes, sides = arrays(some)
    expected = [
        place for place, (key, side) in enumerate(some)
        if any(other == key and earlier < side for other, earlier in some)
    ]  # fmt: skip
    assert leaked(hashes, sides).tolist() == expected


@settings(deadline=None)
@given(rows)
def test_leaked_rows_taken_out_leave_none(some):
    hashes, sides = arrays(some)
    kept = np.setdiff1d(np.arange(len(some)), leaked(hashes, sides))
    assert leak(hashes[kept], sides[kept]) is None


@settings(deadline=None)
@given(rows)
def test_leak_names_two_rows_of_one_key_in_two_splits(some):
    hashes, sides = arrays(some)
    found = leak(hashes, sides)
    assert (found is None) == (not len(leaked(hashes, sides)))
    if found:
        earlier, later, num_rows = found
        assert num_rows == len(leaked(hashes, sides))
        assert hashes[earlier] == hashes[later]
        assert sides[earlier] < sides[later]
