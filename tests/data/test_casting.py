import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.data.casting import cast_column
from shardline.data.elements import cast_elements
from shardline.data.schema import Column, scalar_arrow_type
from shardline.errors import DataError


def cast(values, dtype):
    return cast_elements(values, dtype).to_pylist()


@pytest.mark.parametrize(
    ("texts", "dtype", "expected"),
    [
        (["1", " 2 ", "+3", "-4", "5.0", "6."], "int64", [1, 2, 3, -4, 5, 6]),
        (["1.5", "1e3", "0x10", "", "twelve"], "int64", [None] * 5),
        (["255", "256", "-1"], "uint8", [255, None, None]),
        (["1.5", " +2e3 ", "nan", "inf", "1e999", "x"], "float64", [1.5, 2000.0] + [None] * 4),
        (["70000", "1.5"], "float16", [None, 1.5]),
        (["true", "False", "1", "0", "yes"], "bool", [True, False, True, False, None]),
        (["9007199254740993"], "int64", [9007199254740993]),
    ],
)
def test_cast_elements_text_to_numbers(texts, dtype, expected):
    assert cast(pa.array(texts), dtype) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (pa.array([1.0, 2.5, np.nan]), "int32", [1, None, None]),
        (pa.array([2**24, 2**24 + 1]), "float32", [2.0**24, None]),
        (pa.array([2048, 2049, 2050]), "float16", [2048.0, None, 2050.0]),
        (pa.array([1e300]), "float32", [None]),
        (pa.array([np.float16(1.5), np.float16(3)]), "int64", [None, 3]),
        (pa.array([0, 1, 2]), "bool", [False, True, None]),
        (pa.array([True, False]), "float16", [1.0, 0.0]),
        (pa.array([True, None]), "uint8", [1, None]),
        (pa.array([300, -1, 7]), "uint8", [None, None, 7]),
        (pa.array([1, 2]), "string", ["1", "2"]),
        (pa.array([b"ok", b"\xff"]), "string", ["ok", None]),
        (pa.nulls(2), "float32", [None, None]),
    ],
)
def test_cast_elements_keeps_only_what_fits(values, dtype, expected):
    assert cast(values, dtype) == expected


@given(st.lists(st.one_of(st.none(), st.integers(-400, 400)), max_size=40))
def test_cast_elements_isolates_exactly_the_offenders(values):
    found = cast(pa.array(values, pa.int64()), "int8")
    assert found == [v if v is not None and -128 <= v < 128 else None for v in values]


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float32", "bool", "string"])
def test_cast_elements_of_its_own_type_changes_nothing(dtype):
    values = pa.array([0, 1, 1]).cast(pa.float32()).cast(scalar_arrow_type(dtype))
    assert cast_elements(values, dtype).equals(values)


def test_cast_column_nested_and_flat_lists_make_the_same_tensors():
    column = Column(name="v", dtype="float32", shape=(2, 2))
    nested = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    flat = pa.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    one = cast_column(nested, column, role="feature")
    other = cast_column(flat, column, role="feature")
    assert one.values.equals(other.values)
    assert one.faults == other.faults == {}


def test_cast_column_ragged_inner_lists_are_faults_with_both_shapes():
    column = Column(name="v", dtype="int64", shape=(2, 2))
    raw = pa.array([[[1, 2], [3, 4]], [[1, 2], [3]], [[1, 2]], None, [[5, 6], [7, 8]]])
    found = cast_column(raw, column, role="feature")
    assert found.values.is_null().to_pylist() == [False, True, True, True, False]
    assert set(found.faults) == {1, 2, 3}
    assert found.faults[2] == "feature 'v' has shape [1, 2], expected [2, 2]"
    assert found.faults[3] == "feature 'v' is null"


def test_cast_column_text_of_lists_is_refused_as_a_whole():
    with pytest.raises(DataError, match=r"kept column 'v' holds list<.*>, which cannot become str"):
        cast_column(pa.array([[1]]), Column(name="v", dtype="string"), role="kept column")


def test_cast_column_long_values_are_shortened_in_the_reason():
    found = cast_column(pa.array(["x" * 500]), Column(name="v", dtype="int8"), role="label")
    assert len(found.faults[0]) < 100
