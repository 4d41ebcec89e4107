"""Sketches of one column: what merges is what one pass over everything would have seen."""

from collections import Counter
from decimal import Decimal

import datasketches
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shardline.data.statistics.columns import ColumnSketch
from shardline.data.statistics.distinct import LOG2_SIZE, feed, theta_hashes
from shardline.data.statistics.moments import Moments
from shardline.data.statistics.row_sample import RowSample, limit_for, row_hashes
from shardline.data.statistics.top_values import (
    MAX_CHARACTERS,
    MAX_NUMBERS,
    NumberCounts,
    TextCounts,
)
from shardline.data.statistics.values import (
    canonical_bits,
    filled,
    kind_of,
    numbers_of,
    text_lengths,
)

FLOATS = st.floats(-1e6, 1e6, width=32)
PIECES = st.lists(arrays.arrays(np.float64, st.integers(0, 40), elements=FLOATS), max_size=6)


@settings(deadline=None)
@given(PIECES)
def test_moments_of_merged_pieces_are_numpys_of_all(pieces):
    total = Moments()
    for piece in pieces:
        part = Moments()
        part.add(piece)
        total.merge(part)
    whole = np.concatenate([np.empty(0), *pieces])
    assert total.count == len(whole)
    if len(whole):
        assert (total.min, total.max) == (whole.min(), whole.max())
        assert total.mean == pytest.approx(whole.mean(), abs=1e-6)
        assert total.deviation == pytest.approx(whole.std(), rel=1e-6, abs=1e-3)


def test_moments_beyond_float64_have_no_variance():
    total = Moments()
    total.add(np.array([1e308, -1e308]))
    assert (total.variance, total.deviation, total.max) == (None, None, 1e308)
    assert Moments().variance is None


def test_moments_of_numbers_whose_squares_overflow_have_no_variance():
    total = Moments()
    for number in (1e300, 0.5):
        total.add(np.array([number]))
    assert (total.count, total.mean, total.variance) == (2, 5e299, None)


def test_moments_of_large_numbers_keep_their_spread():
    total = Moments()
    for start in range(0, 3000, 1000):
        total.add(np.arange(start, start + 1000) + 1e12)
    assert total.variance == pytest.approx((3000**2 - 1) / 12)


def test_feed_leaves_the_sketch_that_the_library_would_fill_alone():
    """The filter before the library must not change what it sees."""
    bits = np.random.default_rng(0).integers(0, 2**63, 60_000).astype(np.uint64)
    alone, fed = (datasketches.update_theta_sketch(LOG2_SIZE) for _ in range(2))
    for value in bits.view(np.int64).tolist():
        alone.update(value)
    for piece in np.array_split(bits, 13):
        feed(fed, piece)
    alone.trim()
    fed.trim()
    assert list(fed.compact()) == list(alone.compact())
    assert set(alone.compact()) <= set(theta_hashes(bits).tolist())


@pytest.mark.parametrize("kind", ["integers", "floats", "eighths", "wide apart", "texts"])
@pytest.mark.parametrize("num_distinct", [3, 2000, 10_000, 90_000])
def test_number_of_distinct_values_does_not_depend_on_order_or_pieces(num_distinct, kind):
    values = {
        "integers": np.arange(num_distinct),
        "floats": np.random.default_rng(2).normal(size=num_distinct),
        "eighths": np.arange(num_distinct) / 8.0,
        "wide apart": np.arange(num_distinct, dtype=np.uint64) << np.uint64(40),
        "texts": np.array([f"{i:x}" for i in range(num_distinct)]),
    }[kind]
    shuffled = np.random.default_rng(1).permutation(np.repeat(values, 2))
    forward = ColumnSketch(pa.array(values).type)
    forward.add(filled(pa.array(shuffled)))
    backward = ColumnSketch(pa.array(values).type)
    for piece in np.array_split(shuffled[::-1], 7):
        part = ColumnSketch(pa.array(values).type)
        part.add(filled(pa.array(piece)))
        backward.merge(ColumnSketch.load(pa.array(values).type, part.dump()))
    assert forward.num_distinct == backward.num_distinct
    estimate, exact = forward.num_distinct
    assert exact == (num_distinct <= (2048 if kind != "texts" else 49_000))
    assert estimate == pytest.approx(num_distinct, rel=0 if exact else 0.09)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-50, 50)), max_size=5))
def test_number_counts_of_merged_pieces_are_a_counters(pieces):
    total = NumberCounts()
    for piece in pieces:
        part = NumberCounts()
        part.add(np.array(piece, np.int64))
        total.merge(NumberCounts.load(part.dump()))
    expected = Counter(value for piece in pieces for value in piece)
    assert total.ranked() == sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    assert total.complete


def test_number_counts_of_too_many_values_say_so_even_when_merged():
    many, few = NumberCounts(), NumberCounts()
    many.add(np.arange(MAX_NUMBERS + 1))
    few.add(np.zeros(5, np.int64))
    few.merge(many)
    few.add(np.zeros(5, np.int64))
    assert (few.complete, few.ranked()) == (False, [])


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=3)), max_size=5))
def test_text_counts_of_merged_pieces_are_a_counters(pieces):
    total = TextCounts()
    for piece in pieces:
        part = TextCounts()
        counts = Counter(piece)
        part.add(pa.array(list(counts), pa.string()), np.array(list(counts.values()), np.int64))
        total.merge(TextCounts.load(part.dump()))
    expected = Counter(text for piece in pieces for text in piece)
    assert total.ranked() == sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    assert total.complete


def test_text_counts_of_endless_texts_keep_the_frequent_ones_and_say_so():
    counts = TextCounts()
    counts.add(pa.array(["often", "sometimes"]), np.array([50_000, 20_000]))
    counts.add(pa.array([f"once {i}" for i in range(120_000)]), np.ones(120_000, np.int64))
    counts.add(pa.array(["never counted"]), np.array([1]))
    assert not counts.complete
    assert [text for text, _ in counts.ranked()[:2]] == ["often", "sometimes"]
    assert counts.vocabulary()[:2] == ("often", "sometimes")


def test_text_counts_of_a_giant_cell_keep_its_beginning_only():
    counts = TextCounts()
    counts.add(pa.array(["x" * 1_000_000, "short"]), np.array([3, 2]))
    (text, count), _ = counts.ranked()
    assert (len(text) < MAX_CHARACTERS + 60, count) == (True, 3)
    assert counts.vocabulary() == ("short",)


@settings(deadline=None)
@given(st.permutations(range(60)), st.integers(1, 70), st.integers(1, 8))
def test_row_sample_holds_the_smallest_hashes_whatever_the_pieces(rows, capacity, num_pieces):
    hashes = row_hashes(0, 60)
    total = RowSample(capacity)
    for piece in np.array_split(np.array(rows), num_pieces):
        part = RowSample(capacity)
        wanted = piece[part.wanted(hashes[piece])]
        part.add(hashes[wanted], {"row": wanted.astype(np.float64)})
        total.merge(part)
    found, columns = total.contents()
    expected = np.argsort(hashes)[:capacity]
    assert found.tolist() == hashes[expected].tolist()
    assert columns["row"].tolist() == expected.tolist()


def test_row_hashes_are_uniform_and_continue():
    hashes = row_hashes(0, 100_000)
    assert np.array_equal(hashes[500:600], row_hashes(500, 100))
    counts, _ = np.histogram(hashes / 2.0**64, bins=50, range=(0, 1))
    assert np.abs(counts - 2000).max() < 250


@pytest.mark.parametrize(
    ("values", "arrow_type", "kind", "numbers"),
    [
        ([1, 2], pa.int8(), "number", [1, 2]),
        ([2**64 - 1], pa.uint64(), "number", [2**64 - 1]),
        ([True, False], pa.bool_(), "number", [1, 0]),
        ([Decimal("1.25")], pa.decimal128(5, 2), "number", [1.25]),
        ([1, 2], pa.dictionary(pa.int8(), pa.int32()), "number", [1, 2]),
        ([1500], pa.timestamp("ms"), "time", [1.5]),
        ([1], pa.date32(), "time", [86_400]),
        ([86_400_000], pa.date64(), "time", [86_400]),
        ([90], pa.time32("s"), "time", [90]),
        ([2_000_000], pa.duration("us"), "time", [2]),
    ],
)
def test_numbers_of_every_type_are_plain_numbers_and_seconds(values, arrow_type, kind, numbers):
    array = pa.array(values, arrow_type)
    assert kind_of(array.type) == kind
    assert numbers_of(array).tolist() == numbers


def test_kind_of_a_nested_type_is_refused():
    with pytest.raises(TypeError, match="no statistics of a column of struct<a: int64>"):
        kind_of(pa.struct([("a", pa.int64())]))


def test_canonical_bits_of_both_zeros_are_the_same():
    assert len(set(canonical_bits(np.array([0.0, -0.0])).tolist())) == 1


def test_text_lengths_count_characters():
    assert text_lengths(pa.array(["ä", "abc", ""])).tolist() == [1, 3, 0]


def test_moments_of_counted_numbers_are_those_of_all():
    counted, plain = Moments(), Moments()
    counted.add_counted(np.array([3, 8]), np.array([4, 1]))
    plain.add(np.array([3, 3, 3, 3, 8]))
    assert counted == plain


@pytest.mark.parametrize("expected_rows", [0, 900, 1000, 5000])
def test_row_sample_of_an_expected_number_of_rows_is_the_same(expected_rows):
    hashes = row_hashes(0, 1000)
    total = RowSample(100)
    for piece in np.array_split(np.arange(1000), 4):
        part = RowSample(100, limit_for(100, expected_rows))
        wanted = piece[part.wanted(hashes[piece])]
        part.add(hashes[wanted], {"row": wanted.astype(np.float64)})
        total.merge(part)
    found = total.contents()[1]["row"].tolist()
    smallest = np.argsort(hashes)[:100].tolist()
    assert found == smallest[: len(found)]
    assert len(found) == 100 if expected_rows <= 1000 else 20 < len(found) < 60
