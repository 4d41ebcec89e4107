"""Sketches of tables: merged, sent, stored, they are what one pass over all rows would be."""

import pickle
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.statistics.columns import series_of
from shardline.data.statistics.describe import describe
from shardline.data.statistics.summary import column_statistics, summary_of
from shardline.data.statistics.table import TableSketch
from shardline.data.statistics.values import filled

NUM_ROWS = 400


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    y = random.integers(0, 3, NUM_ROWS)
    missing = random.random(NUM_ROWS) < 0.2
    texts = np.array(["a", "b", "c", "d"])[random.integers(0, 4, NUM_ROWS)]
    images = random.integers(0, 256, (NUM_ROWS, 2, 3)).astype(np.uint8)
    lists = [list(range(length)) for length in random.integers(0, 4, NUM_ROWS)]
    return pa.table(
        {
            "number": pa.array(random.integers(-9, 9, NUM_ROWS), pa.int32()),
            "holes": pa.array(random.integers(0, 5, NUM_ROWS).astype(float), mask=missing),
            "text": pa.array(texts).dictionary_encode(),
            "time": pa.array(random.integers(0, 9, NUM_ROWS) * 86_400, pa.timestamp("s")),
            "image": pa.FixedShapeTensorArray.from_numpy_ndarray(images),
            "list": pa.array(lists, pa.list_(pa.int64())),
            "y": y,
        }
    )


def sketched(table, cuts, *, capacity=None, through=lambda sketch: sketch):
    """The sketch of a table that is added in pieces, each in a sketch of its own."""
    whole = TableSketch(table.schema, capacity=capacity)
    edges = [0, *sorted(cuts), table.num_rows]
    for start, end in pairwise(edges):
        piece = TableSketch(table.schema, capacity=capacity)
        piece.add(table.slice(start, end - start), first_row=start)
        whole.merge(through(piece))
    return whole


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, NUM_ROWS), max_size=5), capacity=st.sampled_from([1, 50, 1000]))
def test_table_sketch_of_any_pieces_is_that_of_all_rows(table, cuts, capacity):
    pieces = sketched(table, cuts, capacity=capacity)
    whole = sketched(table, [], capacity=capacity)
    assert pieces.num_rows == NUM_ROWS
    for name in table.column_names:
        one, other = summary_of(pieces, name), summary_of(whole, name)
        assert one.series.keys() == other.series.keys()
        assert all(np.array_equal(one.series[k], other.series[k], True) for k in one.series)
        assert one.ranked() == other.ranked()
        assert one.sketch.num_distinct == other.sketch.num_distinct
        assert one.sketch.nulls == other.sketch.nulls
        assert one.moments.count == other.moments.count
        assert one.moments.variance == pytest.approx(other.moments.variance)


@pytest.mark.parametrize(
    "through",
    [
        lambda sketch: TableSketch.load(sketch.dump()),
        lambda sketch: pickle.loads(pickle.dumps(sketch)),
    ],
    ids=["stored", "sent"],
)
def test_table_sketch_that_was_away_merges_as_before(table, through):
    kept = sketched(table, [100, 250])
    away = through(sketched(table, [100, 250], through=through))
    assert describe({"train": away}, label="y") == describe({"train": kept}, label="y")


def test_table_sketch_of_the_same_rows_has_the_same_bytes(table):
    assert sketched(table, [7, 90]).dump() == sketched(table, [7, 90]).dump()


def test_table_sketch_takes_no_more_rows_than_fit(table):
    sketch = sketched(table, [200], capacity=30)
    assert len(summary_of(sketch, "number").sampled) == 30


def test_table_sketch_counts_what_is_no_number_apart():
    table = pa.table({"x": [1.0, None, np.nan, np.inf, -np.inf, 3.0]})
    sketch = TableSketch(table.schema)
    sketch.add(table, first_row=0)
    column = summary_of(sketch, "x")
    assert (column.sketch.rows, column.sketch.nulls, column.sketch.not_finite) == (5, 1, 3)
    assert (column.moments.mean, column.moments.max) == (2.0, 3.0)
    assert column.sampled.tolist() == [1.0, 3.0]


def test_summary_quantiles_of_all_rows_are_numpys(table):
    numbers = table["number"].to_numpy()
    column = summary_of(sketched(table, [123]), "number")
    for probability in (0, 0.01, 0.25, 0.5, 0.9, 1):
        expected = np.quantile(numbers, probability, method="inverted_cdf")
        assert column.quantile(probability) == expected


def test_summary_quantiles_of_a_sample_are_close():
    values = np.random.default_rng(0).lognormal(size=300_000)
    table = pa.table({"x": values})
    sketch = TableSketch(table.schema)
    sketch.add(table, first_row=0)
    column = summary_of(sketch, "x")
    ranks = [(values <= column.quantile(p)).mean() for p in (0.001, 0.25, 0.5, 0.75, 0.999)]
    assert np.abs(np.array(ranks) - (0.001, 0.25, 0.5, 0.75, 0.999)).max() < 0.01
    assert column.mode is None


def test_summary_mode_is_the_smallest_of_the_most_frequent():
    table = pa.table(
        {"x": [3, 1, 3, 1, 2], "t": ["b", "a", "b", "a", "c"], "none": pa.nulls(5, "f8")}
    )
    sketch = TableSketch(table.schema)
    sketch.add(table, first_row=0)
    modes = [summary_of(sketch, name).mode for name in table.column_names]
    assert modes == [1, "a", None]
    assert summary_of(sketch, "none").quantile(0.5) is None


def test_column_statistics_are_the_manifests(table):
    found = column_statistics(sketched(table, [50]), ["image", "text", "holes"])
    pixels = np.concatenate([np.ravel(row) for row in table["image"].to_pylist()])
    assert found["image"].count == NUM_ROWS * 6
    assert found["image"].variance == pytest.approx(pixels.var())
    assert set(found["text"].vocabulary) == set("abcd")
    assert found["holes"].nulls == table["holes"].null_count


def test_column_statistics_of_texts_in_tensors_count_every_element():
    storage = pa.array([["a", "b"], ["a", "a"]], pa.list_(pa.string(), 2))
    table = pa.table({"x": storage})
    sketch = TableSketch(table.schema)
    sketch.add(table, first_row=0)
    found = column_statistics(sketch)["x"]
    assert (found.count, found.vocabulary) == (4, ("a", "b"))


def test_series_of_a_tensor_are_elements_of_its_own_row():
    rows = np.arange(12.0).reshape(4, 3)
    column = filled(pa.FixedShapeTensorArray.from_numpy_ndarray(rows))
    drawn = series_of("tensor", column, np.array([0, 1, 2, 5], np.uint64))["element"]
    assert drawn.tolist() == [0, 4, 8, 11]


def test_series_of_lists_of_texts_are_codes_of_their_own_texts():
    column = filled(pa.array([["a"], [], None, ["b", "b"], ["a", None]]))
    found = series_of("text", column, np.zeros(5, np.uint64))
    assert np.isnan(found["code"]).tolist() == [False, True, True, False, False]
    assert found["code"][0] == found["code"][4] != found["code"][3]


def test_series_of_lists_leave_empty_ones_out():
    column = filled(pa.array([[1.0], [], None, [5.0, 6.0]]))
    found = series_of("list", column, np.zeros(4, np.uint64))
    assert np.array_equal(found["element"], [1, np.nan, np.nan, 5], equal_nan=True)
    assert np.array_equal(found["length"], [1, 0, np.nan, 2], equal_nan=True)
