import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shardline.data.cleaning.outliers import beyond, bounds_of, check_numbers, clipped
from shardline.data.cleaning.summary import Summary
from shardline.data.schema import Column
from shardline.errors import DataError
from shardline.spec.cleaning import Outliers

RULES = TypeAdapter(Outliers)


def rule(**values):
    return RULES.validate_python({"then": "clip", **values})


def summary(values):
    numbers = np.sort(np.asarray(values, np.float64))
    return Summary(len(numbers), float(numbers.mean()), float(numbers.std()), None, numbers)


def bounds(dtype, values, **way):
    return bounds_of(rule(**way), Column(name="x", dtype=dtype), summary(values))


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ({"by": "quantile", "low": 0.1, "high": 0.9}, (10.0, 90.0)),
        ({"by": "iqr", "factor": 1.0}, (-25.0, 125.0)),
        (
            {"by": "zscore", "limit": 2.0},
            (50 - 2 * np.std(range(101)), 50 + 2 * np.std(range(101))),
        ),
        ({"by": "bounds", "min": -3}, (-3.0, None)),
        ({"by": "bounds", "max": 7.5, "min": 0}, (0.0, 7.5)),
    ],
)
def test_bounds_follow_the_rule(way, expected):
    assert bounds("float64", range(101), **way) == pytest.approx(expected)


def test_bounds_are_of_the_columns_type():
    assert bounds("int32", range(4), by="bounds", min=0.5, max=9.5) == (1, 9)
    assert bounds("uint8", range(4), by="bounds", min=-5, max=255) == (None, None)
    low, high = bounds("float32", [1], by="bounds", min=0.1, max=1e300)
    assert (low, high) == (float(np.float32(0.1)), None)
    assert bounds("int64", [1, 2, 3], by="zscore", limit=1.0) == (2, 2)


def test_bounds_between_two_whole_numbers_are_these():
    assert bounds("int64", [1, 2], by="zscore", limit=0.1) == (1, 2)
    assert bounds("int64", [-2, -1], by="quantile", low=0.4, high=0.6) == (-2, -1)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("uint64", [2**64 - 1 - i for i in range(40)]),
        ("int64", [2**63 - 1] * 3),
        ("int64", [-(2**63)] * 3),
        ("int64", [2**62 + 1] * 3),
    ],
)
@pytest.mark.parametrize("way", [{"by": "iqr"}, {"by": "quantile"}, {"by": "zscore"}])
def test_bounds_of_whole_numbers_that_floats_round_make_no_outliers(dtype, values, way):
    low, high = bounds(dtype, values, **way)
    array = pa.array(values, getattr(pa, dtype)())
    assert clipped(array, low, high).to_pylist() == values


@pytest.mark.parametrize(
    ("dtype", "given", "said"),
    [
        ("uint8", {"min": 300}, "min 300"),
        ("uint8", {"max": -3}, "max -3"),
        ("float32", {"min": 1e300}, "min 1e\\+300"),
        ("int64", {"min": 1.2, "max": 1.8}, "min 1.2 and max 1.8"),
    ],
)
def test_bounds_that_leave_no_value_of_the_type_are_refused(dtype, given, said):
    with pytest.raises(
        DataError,
        match=rf"data\.cleaning\.x\.outliers: with {said}, every value of {dtype} is an",
    ):
        bounds(dtype, [1], by="bounds", **given)


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_bounds_beyond_float64_are_none(dtype):
    huge = Summary(2, np.inf, np.inf, None, np.array([1.0, 2.0]))
    column = Column(name="x", dtype=dtype)
    assert bounds_of(rule(by="zscore"), column, huge) == (None, None)


@pytest.mark.parametrize(("dtype", "shape"), [("string", ()), ("bool", ()), ("float32", (2,))])
def test_bounds_of_what_is_no_number_are_refused(dtype, shape):
    with pytest.raises(DataError, match=r"data\.cleaning\.x\.outliers.*expected one number"):
        check_numbers(Column(name="x", dtype=dtype, shape=shape))


def test_bounds_of_no_values_are_refused():
    nothing = Summary(0, 0.0, 0.0, None, np.empty(0))
    with pytest.raises(DataError, match="no row of the train split has a value to find bounds"):
        bounds_of(rule(by="iqr"), Column(name="x", dtype="float64"), nothing)


floats = st.floats(-1e3, 1e3, width=16) | st.none()


@settings(deadline=None)
@given(
    st.lists(floats, max_size=20),
    st.tuples(st.floats(-1e3, 0, width=16) | st.none(), st.floats(0, 1e3, width=16) | st.none()),
    st.sampled_from([pa.float16(), pa.float32(), pa.float64()]),
)
def test_clipped_is_numpys_clip_and_leaves_nulls(values, limits, arrow_type):
    low, high = limits
    array = pa.array([None if v is None else np.float16(v) for v in values], pa.float16())
    found = clipped(array.cast(arrow_type), low, high)
    least, most = -np.inf if low is None else low, np.inf if high is None else high
    assert found.to_pylist() == [v if v is None else min(max(v, least), most) for v in values]
    assert found.type == arrow_type
    assert not any(mask.any() for mask in beyond(found, low, high))


@settings(deadline=None)
@given(st.lists(st.integers(0, 255) | st.none(), max_size=20), st.integers(0, 255))
def test_beyond_marks_what_lies_outside(values, bound):
    below, above = beyond(pa.array(values, pa.uint8()), bound, bound)
    assert below.tolist() == [v is not None and v < bound for v in values]
    assert above.tolist() == [v is not None and v > bound for v in values]
