import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shardline.data import statistics
from shardline.data.schema import Column
from shardline.data.statistics import ColumnTally, Moments

numbers = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6))


@given(st.lists(numbers, min_size=1, max_size=6))
def test_moments_merged_equal_numpy_on_everything(pieces):
    moments = Moments()
    for piece in pieces:
        moments.add(piece)
    whole = np.concatenate(pieces)
    assert moments.count == whole.size
    assert moments.mean == pytest.approx(whole.mean(), rel=1e-9, abs=1e-6)
    assert moments.squares / moments.count == pytest.approx(whole.var(), rel=1e-6, abs=1e-6)
    assert (moments.min, moments.max) == (whole.min(), whole.max())


def test_moments_of_a_small_spread_far_from_zero_stay_exact():
    moments = Moments()
    for piece in np.array_split(1e9 + np.arange(1000) % 2, 7):
        moments.add(piece)
    assert moments.squares / moments.count == pytest.approx(0.25, rel=1e-9)


def test_tally_of_tensors_counts_elements():
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    column = Column(name="image", dtype="uint8", shape=(3, 4))
    storage = pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), 12)
    tally = ColumnTally(column)
    tally.add(pa.ExtensionArray.from_storage(column.arrow_type, storage))
    found = tally.result()
    assert (found.count, found.min, found.max, found.mean) == (24, 0, 23, 11.5)
    assert found.variance == pytest.approx(images.var())


def test_tally_of_texts_ranks_by_frequency_then_alphabet():
    tally = ColumnTally(Column(name="word", dtype="string"))
    tally.add(pa.array(["b", "c", "a", "c"]))
    tally.add(pa.chunked_array([["d", "b"], ["c"]]))
    found = tally.result()
    assert found.vocabulary == ("c", "b", "a", "d")
    assert (found.count, found.mean) == (7, None)


def test_tally_of_endless_texts_keeps_the_most_frequent(monkeypatch):
    monkeypatch.setattr(statistics, "MAX_VOCABULARY", 2)
    tally = ColumnTally(Column(name="word", dtype="string"))
    tally.add(pa.array(["rare", "often", "often", "some", "some", "some"]))
    assert tally.result().vocabulary == ("some", "often")


def test_tally_of_booleans_is_their_share():
    tally = ColumnTally(Column(name="flag", dtype="bool"))
    tally.add(pa.array([True, False, True, True]))
    assert tally.result().mean == 0.75


def test_tally_of_nothing_has_no_mean():
    assert ColumnTally(Column(name="x", dtype="float32")).result().mean is None
