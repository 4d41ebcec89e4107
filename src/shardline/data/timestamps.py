"""Moments in time as Arrow holds them in shards: microseconds since 1970, in UTC.

They come from ISO 8601 texts and from Arrow's timestamps and dates of any unit and zone. Whatever
has no zone is taken as UTC, a date as its first moment; below a microsecond is cut off.
"""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.partial_cast import cast_where_possible

MOMENT = pa.timestamp("us", tz="UTC")
EXPECTED = "an ISO 8601 date or time, as 2026-03-31T12:00:00Z"

_TIMED = "[ T]"
_ZONE = r"(Z|[+-]\d\d(:?\d\d)?)$"
_DATE = r"^\d{4}-\d\d-\d\d([ T]\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d(:?\d\d)?)?)?$"
_NAIVE = pa.timestamp("us")
_NS_PER_US = 1000


def is_moment(arrow_type: Any) -> bool:
    """Whether values are moments in time, as durations and times of day are not."""
    return bool(pa.types.is_timestamp(arrow_type) or pa.types.is_date(arrow_type))


def moments_of_texts(texts: pa.Array) -> pa.Array:
    """ISO 8601 texts as `MOMENT`, null where they are none."""
    # Most columns are written in one way throughout, which Arrow reads twenty times as fast.
    known = pc.is_valid(texts)
    first = str(texts[pc.index(known, True).as_py()]) if pc.any(known).as_py() else ""
    target = MOMENT if re.search(_TIMED + ".*" + _ZONE, first) else _NAIVE
    try:
        return texts.cast(target).cast(pa.int64()).cast(MOMENT)
    except pa.ArrowInvalid:
        return _of_mixed_texts(texts)


def moments_of_times(values: pa.Array) -> pa.Array:
    """Arrow's timestamps or dates as `MOMENT`, null where microseconds cannot hold them."""
    kind = values.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return _of_nanoseconds(values.cast(pa.int64()))
    # Arrow keeps timestamps in UTC, whatever their zone.
    local = values.cast(pa.timestamp(kind.unit)) if pa.types.is_timestamp(kind) else values
    return cast_where_possible(local, _NAIVE).cast(pa.int64()).cast(MOMENT)


def _of_mixed_texts(texts: pa.Array) -> pa.Array:
    """Texts of which some have a zone, or more digits than Arrow reads, or are no date at all."""
    trimmed = pc.utf8_trim_whitespace(texts)
    looks_right = pc.match_substring_regex(trimmed, _DATE)
    sound = pc.if_else(looks_right, trimmed, pa.scalar(None, trimmed.type))
    sound = pc.replace_substring_regex(sound, r"(\.\d{6})\d+", r"\1")
    timed = pc.match_substring_regex(sound, _TIMED)
    zoned = pc.fill_null(pc.and_(timed, pc.match_substring_regex(sound, _ZONE)), False)
    none = pa.scalar(None, sound.type)
    local = cast_where_possible(pc.if_else(zoned, none, sound), _NAIVE)
    utc = cast_where_possible(pc.if_else(zoned, sound, none), MOMENT)
    return pc.coalesce(local.cast(pa.int64()), utc.cast(pa.int64())).cast(MOMENT)


def _of_nanoseconds(ticks: pa.Array) -> pa.Array:
    absent = pc.is_null(ticks).to_numpy(zero_copy_only=False)
    # Arrow divides towards zero, which would move what lies before 1970 to a later microsecond.
    whole = np.floor_divide(pc.fill_null(ticks, 0).to_numpy(), _NS_PER_US)
    return pa.array(whole, pa.int64(), mask=absent).cast(MOMENT)
