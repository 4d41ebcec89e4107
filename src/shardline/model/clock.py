"""Timestamps in a model's graph: exact in int64 microseconds for as long as it matters.

A float32 holds a moment of today to two minutes, so whatever is subtracted or divided away goes
first and the cast to float32 comes last.
"""

from math import pi
from typing import Any, Literal

from shardline.errors import ModelError

PartName = Literal["second", "minute", "hour", "weekday"]
PeriodName = Literal["hour", "day", "week"]

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
# 1970 began on a Thursday.
_TO_MONDAY = 3 * _DAY

_PARTS: dict[str, tuple[int, int]] = {
    "second": (_SECOND, 60),
    "minute": (_MINUTE, 60),
    "hour": (_HOUR, 24),
    "weekday": (_DAY, 7),
}
"""How long one lasts, and how many there are before they begin again."""
_PERIODS: dict[str, int] = {"hour": _HOUR, "day": _DAY, "week": _WEEK}


def seconds_from(timestamps: Any, origin_s: float) -> Any:
    """Seconds since a moment, as float32.

    Args:
        timestamps: Int64 microseconds since 1970.
        origin_s: Seconds since 1970.
    """
    import keras

    elapsed = keras.ops.subtract(timestamps, round(origin_s * _SECOND))
    return keras.ops.cast(elapsed, "float32") / _SECOND


def part_of(timestamps: Any, name: str) -> Any:
    """A part of the date or time of day in UTC, as int64.

    Raises:
        ModelError: There is no such part.
    """
    import keras

    if name not in _PARTS:
        raise ModelError(f"a timestamp has no part {name!r}; it has {', '.join(_PARTS)}.")
    length, count = _PARTS[name]
    whole = keras.ops.floor_divide(keras.ops.add(timestamps, _TO_MONDAY), length)
    return keras.ops.mod(whole, count)


def cyclic_place(timestamps: Any, period: str) -> Any:
    """Sine and cosine of the place in a period in UTC, as float32, on the last axis.

    Raises:
        ModelError: There is no such period.
    """
    import keras

    if period not in _PERIODS:
        raise ModelError(f"there is no period {period!r}; there are {', '.join(_PERIODS)}.")
    length = _PERIODS[period]
    passed = keras.ops.mod(keras.ops.add(timestamps, _TO_MONDAY), length)
    angle = keras.ops.cast(passed, "float32") * (2 * pi / length)
    return keras.ops.concatenate([keras.ops.sin(angle), keras.ops.cos(angle)], axis=-1)
