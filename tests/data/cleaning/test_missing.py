import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.cleaning.missing import fill_value, nulled
from shardline.data.cleaning.summary import Summary
from shardline.data.schema import Column
from shardline.errors import DataError
from shardline.spec.cleaning import MissingRule


def summary(values):
    numbers = np.sort(np.asarray(values, np.float64))
    if np.isinf(numbers).any():
        return Summary(len(numbers), np.inf, np.inf, None, numbers)
    found, counts = np.unique(numbers, return_counts=True)
    return Summary(
        count=len(numbers),
        mean=float(numbers.mean()) if len(numbers) else 0.0,
        deviation=float(numbers.std()) if len(numbers) else 0.0,
        mode=float(found[counts.argmax()]) if len(numbers) else None,
        ascending=numbers,
    )


def fill(by, dtype, values, **rule):
    return fill_value(MissingRule(by=by, **rule), Column(name="x", dtype=dtype), summary(values))


@pytest.mark.parametrize(
    ("values", "null_values", "expected"),
    [
        (pa.array(["", "NA", " ", None, "1"]), ("", "NA"), [None, None, " ", None, "1"]),
        (pa.array(["NA"], pa.large_string()), ("NA",), [None]),
        (pa.array([1.5, float("nan"), -999.0, None]), ("-999", ""), [1.5, None, None, None]),
        (pa.array([1, -999, None]), ("-999",), [1, None, None]),
        (pa.array([1, -999], pa.int16()), ("-999.0",), [1, None]),
        (pa.array([1.5, 0.1], pa.float32()), ("0.1",), [1.5, None]),
        (pa.array([1.5, 0.1], pa.float16()), ("0.1",), [1.5, None]),
        (pa.array([2**60, 2**60 + 1]), (str(2**60),), [None, 2**60 + 1]),
        (pa.array([1.0, float("nan")], pa.float16()), ("",), [1.0, None]),
        (pa.array([True, None]), ("",), [True, None]),
    ],
)
def test_nulled_makes_null_of_what_counts_as_missing(values, null_values, expected):
    assert nulled(values, null_values).to_pylist() == expected
    assert nulled(values, null_values).type == values.type


@pytest.mark.parametrize(
    ("by", "dtype", "values", "expected"),
    [
        ("mean", "float64", [1, 2, 6], 3.0),
        ("mean", "int32", [1, 2, 5], 3),
        ("mean", "uint8", [254, 255, 255], 255),
        ("median", "float64", [1, 2, 3, 10], 2.5),
        ("median", "int64", [1, 2, 9], 2),
        ("mode", "float64", [3, 3, 1], 3.0),
        ("mean", "bool", [1, 1, 0], True),
        ("median", "float32", [0.1], float(np.float32(0.1))),
    ],
)
def test_fill_value_is_of_the_columns_type(by, dtype, values, expected):
    found = fill(by, dtype, values)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("dtype", "given", "expected"),
    [("int8", 5, 5), ("float32", 0, 0.0), ("string", "none", "none"), ("bool", True, True),
     ("string", 7, "7"), ("int64", "7", 7)],
)  # fmt: skip
def test_fill_value_constant_is_cast(dtype, given, expected):
    rule = MissingRule(by="constant", value=given)
    found = fill_value(rule, Column(name="x", dtype=dtype), None)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("dtype", "rule", "values", "sentence"),
    [
        ("int8", {"by": "constant", "value": 300}, [], "missing.value is 300, expected int8."),
        ("float64", {"by": "mean"}, [np.inf], "the mean of the train split is beyond float64;"),
        ("float32", {"by": "median"}, [], "no row of the train split has a value to take the medi"),
    ],
)
def test_fill_value_that_there_is_not_is_refused(dtype, rule, values, sentence):
    with pytest.raises(DataError, match=r"data\.cleaning\.x\.missing") as caught:
        fill_value(MissingRule(**rule), Column(name="x", dtype=dtype), summary(values))
    assert sentence in caught.value.message


def test_fill_value_without_a_frequent_value_is_refused():
    none = Summary(count=9, mean=0.0, deviation=1.0, mode=None, ascending=np.arange(9.0))
    with pytest.raises(DataError, match="no value of the train split is frequent enough"):
        fill_value(MissingRule(by="mode"), Column(name="x", dtype="float64"), none)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20))
def test_fill_value_median_is_numpys(values):
    assert fill("median", "float64", values) == np.median(values)
