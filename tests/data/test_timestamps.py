from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data.casting import cast_column
from shardline.data.schema import Column
from shardline.data.timestamps import MOMENT, moments_of_texts, moments_of_times
from shardline.errors import DataError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WHEN = Column(name="when", dtype="timestamp")
NOON_US = 1_774_958_400_000_000  # 2026-03-31T12:00:00Z
ZONED = ["2026-03-31T12:00:00Z", "2026-03-31T14:00:00+02:00", "2026-03-31 10:30-0130"]
PLAIN = ["2026-03-31T12:00:00", "2026-03-31 12", "2026-03-31T12:00:00.000000"]


def microseconds(moments):
    assert moments.type == MOMENT
    return moments.cast(pa.int64()).to_pylist()


@pytest.mark.parametrize("texts", [ZONED, PLAIN, ZONED + PLAIN, [*PLAIN, "31.3.2026"]])
def test_moments_of_texts_are_the_same_whatever_stands_beside_them(texts):
    found = microseconds(moments_of_texts(pa.array([*texts, None])))
    assert found == [NOON_US if text.startswith("2026") else None for text in [*texts, "no"]]


@pytest.mark.parametrize(
    "text", ["2026-02-30", "20260331", "1774958400", "31.3.2026", "2026-03-31T24:00", "noon", ""]
)
def test_moments_of_texts_that_are_no_dates_are_null(text):
    assert microseconds(moments_of_texts(pa.array([text, "1970-01-01"]))) == [None, 0]


def test_moments_of_texts_cut_what_is_finer_than_a_microsecond():
    texts = pa.array(["1969-12-31T23:59:59.9999999Z", "1970-01-01T00:00:00.0000019"])
    assert microseconds(moments_of_texts(texts)) == [-1, 1]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_moments_of_times_of_any_unit_and_zone(unit, zone):
    naive = pa.array([np.datetime64("2026-03-31T12:00", unit)])
    stamps = naive.cast(pa.int64()).cast(pa.timestamp(unit, zone))
    assert microseconds(moments_of_times(stamps)) == [NOON_US]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_moments_of_times_takes_dates_as_their_first_moment(kind):
    dates = pa.array([datetime(2026, 3, 31).date(), None], kind)
    assert microseconds(moments_of_times(dates)) == [NOON_US - 12 * 3600 * 10**6, None]


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_moments_of_nanoseconds_are_rounded_down_as_texts_are(ticks):
    found = microseconds(moments_of_times(pa.array(ticks, pa.int64()).cast(pa.timestamp("ns"))))
    assert found == [None if tick is None else tick // 1000 for tick in ticks]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.date64()])
def test_cast_column_times_beyond_microseconds_are_faults(kind):
    # Whole days, which is what date64 takes.
    far = 86_400_000 * 100_000_000_000
    raw = pa.array([0, far], pa.int64()).view(kind)
    found = cast_column(raw, WHEN, role="feature")
    assert microseconds(found.values) == [0, None]
    assert found.faults[1].startswith(f"feature 'when' is {far} in {kind}"[:50])
    assert found.faults[1].endswith("expected an ISO 8601 date or time, as 2026-03-31T12:00:00Z")


@settings(deadline=None)
@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)))
def test_moments_agree_with_python(moment):
    expected = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    assert microseconds(moments_of_texts(pa.array([moment.isoformat()]))) == [expected]
    assert microseconds(moments_of_times(pa.array([moment], pa.timestamp("us")))) == [expected]


# What looks like a time, and what almost does.
_PIECES = st.sampled_from(
    ["2026-03-31", "0000-01-01", "20260331", "-001-01-01", "T", "t", " ", "12", "1200", "12:00",
     "12:00:00", "25:00", "23:59:60", ".", ".5", ".1234567", ",5", "Z", "z", "+01", "+0130",
     "-01:30", "+1", "\t", "[UTC]", "W14"]
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(_PIECES, min_size=1, max_size=6).map("".join))
def test_moments_of_texts_are_read_alike_alone_and_among_others(text):
    alone = microseconds(moments_of_texts(pa.array([text])))
    others = ["2026-03-31", "2026-03-31T12:00Z", "no time"]
    assert microseconds(moments_of_texts(pa.array([text, *others])))[:1] == alone


def test_cast_column_names_the_value_that_is_no_date():
    found = cast_column(pa.array(["2026-02-30", None]), WHEN, role="feature")
    assert found.faults == {
        0: "feature 'when' is '2026-02-30', expected an ISO 8601 date or time, as "
        "2026-03-31T12:00:00Z",
        1: "feature 'when' is null",
    }


@pytest.mark.parametrize(
    "raw", [pa.array([1]), pa.array([1.0]), pa.array([True]), pa.array([1], pa.duration("s")),
            pa.array([1], pa.time64("us")), pa.array([b"2026-03-31"])],
)  # fmt: skip
def test_cast_column_what_has_no_date_cannot_become_one(raw):
    sentence = (
        (
            rf"^feature 'when' holds {raw.type}, which cannot become timestamp; write times as "
            r"ISO 8601 texts or as Arrow's timestamps, whose unit is known\.$"
        )
        .replace("[", r"\[")
        .replace("]", r"\]")
    )
    with pytest.raises(DataError, match=sentence):
        cast_column(raw, WHEN, role="feature")


def test_cast_column_nothing_but_nulls_is_null():
    found = cast_column(pa.nulls(2), WHEN, role="feature")
    assert set(found.faults.values()) == {"feature 'when' is null"}
