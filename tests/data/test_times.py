from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.times import (
    boundaries_of,
    declared_boundaries,
    moment_of,
    read_times,
    sides_by_time,
)
from shardline.errors import DataError
from shardline.spec.split import ordinal

SHARES = {"train": 0.7, "validation": 0.2, "test": 0.1}
zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
moments = st.datetimes(datetime(1900, 1, 2), datetime(2250, 1, 1), timezones=zones)


@settings(deadline=None)
@given(moments)
def test_read_times_understands_what_python_writes(moment):
    expected = ordinal(moment.isoformat())[1]
    for text in (moment.isoformat(), moment.isoformat(" "), moment.astimezone(UTC).isoformat()):
        found = read_times(pa.array([text]), kind="date")
        assert (found.ordinals.tolist(), found.readable.tolist()) == ([expected], [True])
    assert ordinal(moment_of("date", expected))[1] == expected


@pytest.mark.parametrize(
    ("text", "equal"),
    [("2024-03-01", "2024-03-01T00:00:00"), ("2024-03-01T05", "2024-03-01T05:00:00+00:00"),
     (" 2024-03-01 05:06Z", "2024-03-01T05:06:00"),
     ("2024-03-01T05:06:07.123456789+0130", "2024-03-01T03:36:07.123456")],
)  # fmt: skip
def test_read_times_takes_the_forms_of_iso_8601(text, equal):
    assert read_times(pa.array([text]), kind="date").ordinals[0] == ordinal(equal)[1]


@pytest.mark.parametrize("text", ["2024-02-31", "2024-02-31T01:00Z", "1.2.2024", "", "20240101"])
def test_read_times_what_is_no_date_is_not_readable(text):
    found = read_times(pa.array([text, None, "2024-01-01"]), kind="date")
    assert found.readable.tolist() == [False, False, True]


def test_read_times_takes_numbers_as_text_and_typed():
    assert read_times(pa.array(["7", "1e3", "x"]), kind="number").readable.tolist() == [1, 1, 0]
    assert read_times(pa.array([7, None]), kind="number").ordinals.tolist() == [7.0, 0.0]
    assert not read_times(pa.array([7]), kind="date").readable.any()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_read_times_takes_timestamps_of_any_unit(unit):
    stamps = pa.array([np.datetime64("2024-03-01T05:00", unit)])
    assert read_times(stamps, kind="date").ordinals[0] == ordinal("2024-03-01T05:00")[1]
    assert not read_times(stamps, kind="number").readable.any()


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=3, max_size=200))
def test_boundaries_divide_in_order_and_leave_no_split_empty(values):
    ordinals = np.array(values, np.float64)
    if len(set(values)) < 3:
        with pytest.raises(DataError, match="different values in the rows that can be used, too"):
            boundaries_of(ordinals, SHARES, column="t")
        return
    sides = sides_by_time(ordinals, boundaries_of(ordinals, SHARES, column="t"))
    assert set(sides.tolist()) == {0, 1, 2}
    assert ordinals[sides == 0].max() < ordinals[sides == 1].min()
    assert ordinals[sides == 1].max() < ordinals[sides == 2].min()


@settings(deadline=None)
@given(st.integers(10, 400))
def test_boundaries_of_different_times_give_the_fractions(count):
    ordinals = np.random.default_rng(count).permutation(count).astype(np.float64)
    sides = sides_by_time(ordinals, boundaries_of(ordinals, SHARES, column="t"))
    assert np.abs(np.bincount(sides) - count * np.array([0.7, 0.2, 0.1])).max() <= 1


def test_boundaries_declared_are_the_first_moments_of_their_splits():
    kind, boundaries = declared_boundaries({"test": "2024-03-01"})
    times = read_times(pa.array(["2024-02-29T23:59:59.999999", "2024-03-01"]), kind=kind)
    assert sides_by_time(times.ordinals, boundaries).tolist() == [0, 2]


def test_read_times_takes_whole_numbers_that_floats_round():
    nanoseconds = pa.array([1_700_000_000_000_000_001, 1_600_000_000_000_000_001, None])
    found = read_times(nanoseconds, kind="number")
    assert found.ordinals.tolist() == [1.7e18, 1.6e18, 0]
    assert found.readable.tolist() == [True, True, False]


def test_read_times_beyond_the_calendar_are_not_readable():
    days = pa.array([0, 2_932_896, 2_932_897, -719_162, -719_163], pa.date32())
    stamps = pa.array([0, 10**18, -(10**18)], pa.timestamp("us"))
    assert read_times(days, kind="date").readable.tolist() == [True, True, False, True, False]
    found = read_times(stamps, kind="date")
    assert found.readable.tolist() == [True, False, False]
    assert moment_of("date", read_times(days, kind="date").ordinals[1]).startswith("9999-12-31")


def test_read_times_of_tensors_are_not_readable():
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 3)))
    assert not read_times(tensors, kind="number").readable.any()
    assert not read_times(tensors, kind="date").readable.any()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "+05:30"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_read_times_of_any_zone_are_the_same_moments_typed_and_carried_as_text(unit, zone):
    moments = pa.array([0, 1_700_000_000, 1_719_999_999], pa.timestamp("s"))
    stamps = moments.cast(pa.timestamp(unit)).cast(pa.int64()).cast(pa.timestamp(unit, zone))
    expected = moments.cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
    for values in (stamps, stamps.cast(pa.string())):
        found = read_times(values, kind="date")
        assert (found.ordinals.tolist(), found.readable.all()) == (expected, True)


def test_boundaries_declared_in_a_zone_are_moments():
    kind, boundaries = declared_boundaries(
        {"validation": "2024-03-01T00:00:00+02:00", "test": "2024-03-31T00:00:00-05:00"}
    )
    times = read_times(
        pa.array(
            ["2024-02-29T21:59:59Z", "2024-02-29T22:00:00Z", "2024-03-31T04:59", "2024-03-31T05"]
        ),
        kind=kind,
    )
    assert sides_by_time(times.ordinals, boundaries).tolist() == [0, 1, 1, 2]
