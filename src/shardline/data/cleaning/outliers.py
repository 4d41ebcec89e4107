"""Values that lie too far out: the bounds that a rule leads to, and what is done beyond them."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.cleaning.summary import Summary
from shardline.data.schema import Column
from shardline.errors import DataError
from shardline.spec.cleaning import (
    BoundsOutliers,
    IqrOutliers,
    Outliers,
    QuantileOutliers,
    ZScoreOutliers,
)

EXACT = 2**53

Number = int | float
Bounds = tuple[Number | None, Number | None]


def is_fitted(rule: Outliers) -> bool:
    """Whether the bounds depend on the data."""
    return not isinstance(rule, BoundsOutliers)


def bounds_of(rule: Outliers, column: Column, summary: Summary | None) -> Bounds:
    """The lowest and the highest value that is no outlier, None for a side without a bound.

    Args:
        rule: How to find them.
        column: A column of numbers; bounds are of its type, rounded towards each other.
        summary: Its values in the train split; not needed for given bounds.

    Raises:
        DataError: The train split has no value of it, or the column's type none within the bounds.
    """
    if isinstance(rule, BoundsOutliers):
        _check_given(rule, column)
        return _of_type(rule.min, rule.max, column)
    if summary is None or not summary.count:
        raise DataError(
            f"data.cleaning.{column.name}.outliers: no row of the train split has a value to find "
            "bounds from; use by: bounds, or leave the rule out."
        )
    return _of_type(*_fitted(rule, summary), column)


def check_numbers(column: Column) -> None:
    """Refuse a column that has no bounds.

    Raises:
        DataError: It holds texts, booleans, times or several elements per row.
    """
    if column.shape or column.dtype in ("string", "bool", "timestamp"):
        raise DataError(
            f"data.cleaning.{column.name}.outliers: the column holds {column.dtype} of shape "
            f"{list(column.shape)}, expected one number per row."
        )


def beyond(values: pa.Array, low: Number | None, high: Number | None) -> tuple[Any, Any]:
    """Boolean numpy masks of the values below and above the bounds; nulls are neither."""
    return _mask(values, low, pc.less), _mask(values, high, pc.greater)


def clipped(values: pa.Array, low: Number | None, high: Number | None) -> pa.Array:
    """The values moved to the nearest bound."""
    below, above = beyond(values, low, high)
    if below.any():
        values = pc.if_else(pa.array(below), pa.scalar(low, values.type), values)
    if above.any():
        values = pc.if_else(pa.array(above), pa.scalar(high, values.type), values)
    return values


def _fitted(
    rule: QuantileOutliers | IqrOutliers | ZScoreOutliers, summary: Summary
) -> tuple[float, float]:
    if isinstance(rule, QuantileOutliers):
        return summary.quantile(rule.low), summary.quantile(rule.high)
    if isinstance(rule, IqrOutliers):
        first, third = summary.quantile(0.25), summary.quantile(0.75)
        reach = rule.factor * (third - first)
        return first - reach, third + reach
    reach = rule.limit * summary.deviation
    return summary.mean - reach, summary.mean + reach


def _of_type(low: float | None, high: float | None, column: Column) -> Bounds:
    """Bounds in the column's type; one that no value of the type can pass is none."""
    # Of numbers near the end of float64, mean and deviation may be infinite or none.
    low = low if low is not None and np.isfinite(low) else None
    high = high if high is not None and np.isfinite(high) else None
    kind = column.numpy_dtype
    if kind.kind not in "iu":
        return _float_bound(low, kind), _float_bound(high, kind)
    least, most = _limits(column)
    # Floats round whole numbers from 2^53 on: what is no outlier must not become one by that.
    low = math.nextafter(low, -math.inf) if low is not None and abs(low) >= EXACT else low
    high = math.nextafter(high, math.inf) if high is not None and abs(high) >= EXACT else high
    lowest = None if low is None or low <= least else math.ceil(low)
    highest = None if high is None or high >= most else math.floor(high)
    if lowest is not None and highest is not None and lowest > highest:
        return highest, lowest  # no whole number lies between them
    return lowest, highest


def _check_given(rule: BoundsOutliers, column: Column) -> None:
    least, most = _limits(column)
    low = least if rule.min is None else max(least, rule.min)
    high = most if rule.max is None else min(most, rule.max)
    if column.numpy_dtype.kind in "iu":
        low, high = math.ceil(low), math.floor(high)
    if low > high:
        given = {"min": rule.min, "max": rule.max}
        said = " and ".join(
            f"{name} {bound:g}" for name, bound in given.items() if bound is not None
        )
        raise DataError(
            f"data.cleaning.{column.name}.outliers: with {said}, every value of {column.dtype} is "
            "an outlier; give other bounds."
        )


def _limits(column: Column) -> tuple[Number, Number]:
    """The least and the most that the column's type holds."""
    kind = column.numpy_dtype
    limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    ends = (int(limits.min), int(limits.max))
    return ends if kind.kind in "iu" else (float(limits.min), float(limits.max))


def _float_bound(bound: float | None, kind: "np.dtype[Any]") -> float | None:
    if bound is None or abs(bound) > float(np.finfo(kind).max):
        return None
    return float(kind.type(bound))


def _mask(values: pa.Array, bound: Number | None, compare: Any) -> "np.ndarray[Any, Any]":
    if bound is None:
        return np.zeros(len(values), dtype=bool)
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())  # Arrow 26 does not compare halves
    passed = compare(values, pa.scalar(bound, values.type))
    mask: np.ndarray[Any, Any] = pc.fill_null(passed, False).to_numpy(zero_copy_only=False)
    return mask
