"""A column of times as numbers that order it, and the boundaries that divide it.

A column holds numbers, or dates and times: of Arrow's own types, or as ISO 8601 texts. A time
without a zone is UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.elements import cast_elements, is_text
from shardline.data.timestamps import is_moment, moments_of_texts, moments_of_times
from shardline.errors import DataError
from shardline.spec.split import SPLITS, LaterSplit, SplitName, ordinal

Kind = Literal["date", "number"]
Ordinals = np.ndarray[Any, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US, _LAST_US = (
    (moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
    for moment in (datetime.min, datetime.max)
)


@dataclass(frozen=True)
class Times:
    """The times of some rows."""

    ordinals: Ordinals
    """Int64 microseconds since 1970 for dates, float64 for numbers; zero where not readable."""
    readable: "np.ndarray[Any, np.dtype[np.bool_]]"


def read_times(values: pa.ChunkedArray | pa.Array, *, kind: Kind) -> Times:
    """Read a column of times.

    Args:
        values: Numbers, texts, dates or timestamps.
        kind: What they must be; others, and nulls, are not readable.
    """
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    dated = is_moment(array.type)
    if kind == "number":
        return _times(pa.nulls(len(array), pa.float64()) if dated else _numbers(array))
    if dated:
        return _times(_dates(moments_of_times(array)))
    if not is_text(array.type):
        return _times(pa.nulls(len(array), pa.int64()))
    return _times(moments_of_texts(array).cast(pa.int64()))


def moment_of(kind: Kind, value: Any) -> str | float:
    """An ordinal as the spec and the manifest write it."""
    if kind == "number":
        return float(value)
    return (_EPOCH + timedelta(microseconds=int(value))).isoformat()


def boundaries_of(
    ordinals: Ordinals, fractions: Mapping[SplitName, float], *, column: str
) -> dict[SplitName, Any]:
    """The first ordinal of every split but the first, so that shares come nearest the fractions.

    Args:
        ordinals: Times of all rows, or of a random sample of them.
        fractions: Share of every split.
        column: Their name, for the sentence.

    Raises:
        DataError: There are fewer different times than splits.
    """
    names = [name for name in SPLITS if name in fractions]
    distinct, starts = np.unique(ordinals, return_index=True)
    if len(distinct) < len(names):
        raise DataError(
            f"data.split.time {column!r} has {len(distinct)} different values in the rows that can "
            f"be used, too few for {len(names)} splits; choose another column or other fractions."
        )
    starts = np.searchsorted(np.sort(ordinals), distinct)
    shares = np.cumsum([fractions[name] for name in names])[:-1]
    boundaries: dict[SplitName, Any] = {}
    least = 1
    for place, (name, share) in enumerate(zip(names[1:], shares, strict=True)):
        # No split is left empty: so many values must remain for the splits that follow.
        most = len(distinct) - (len(names) - 2 - place)
        nearest = np.abs(starts[least:most] - share * len(ordinals)).argmin()
        boundaries[name] = distinct[least + int(nearest)]
        least += int(nearest) + 1
    return boundaries


def declared_boundaries(moments: Mapping[LaterSplit, str | float]) -> tuple[Kind, dict[Any, Any]]:
    """Boundaries that the spec gives, as ordinals."""
    read = {name: ordinal(moment) for name, moment in moments.items()}
    kind = next(iter(read.values()))[0]
    return kind, {name: value for name, (_, value) in read.items()}


def sides_by_time(ordinals: Ordinals, boundaries: Mapping[SplitName, Any]) -> Ordinals:
    """Index into `SPLITS` for every time: a boundary is the first moment of its split."""
    names: Sequence[SplitName] = [name for name in SPLITS if name in boundaries]
    indices = np.array([0, *(SPLITS.index(name) for name in names)], np.int8)
    firsts = np.array([boundaries[name] for name in names], ordinals.dtype)
    return indices[np.searchsorted(firsts, ordinals, side="right")]


def _numbers(array: pa.Array) -> pa.Array:
    """Floats; of whole numbers that these round, such as nanoseconds, only the order counts."""
    if pa.types.is_integer(array.type):
        return array.cast(pa.float64(), safe=False)
    try:
        return cast_elements(array, "float64")
    except pa.ArrowNotImplementedError:  # tensors
        return pa.nulls(len(array), pa.float64())


def _dates(moments: pa.Array) -> pa.Array:
    """Microseconds since 1970, null in years that no calendar writes with four digits."""
    ticks = moments.cast(pa.int64())
    is_written = pc.and_(pc.greater_equal(ticks, _FIRST_US), pc.less_equal(ticks, _LAST_US))
    return pc.if_else(is_written, ticks, pa.scalar(None, ticks.type))


def _times(values: pa.Array) -> Times:
    readable = pc.is_valid(values).to_numpy(zero_copy_only=False)
    return Times(pc.fill_null(values, 0).to_numpy(zero_copy_only=False), readable)
