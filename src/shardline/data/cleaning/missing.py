"""Values that are not there: which count as missing, and what is put in their place."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.cleaning.summary import Summary
from shardline.data.elements import cast_elements, dtype_of, is_text
from shardline.data.schema import Column
from shardline.data.timestamps import EXPECTED
from shardline.errors import DataError
from shardline.spec.cleaning import MissingRule
from shardline.spec.data import DType

US_PER_S = 1_000_000

Fill = bool | int | float | str


def nulled(values: pa.Array, null_values: tuple[str, ...]) -> pa.Array:
    """The values with null for NaN and for every text, or number, that counts as missing."""
    dtype = dtype_of(values.type)
    if is_text(values.type):
        absent = pc.is_in(values, value_set=pa.array(null_values, values.type))
    elif pa.types.is_integer(values.type) and dtype is not None:
        absent = pc.is_in(values, value_set=null_numbers(null_values, dtype))
    elif pa.types.is_floating(values.type) and dtype is not None:
        wide = values.cast(pa.float64())
        numbers = null_numbers(null_values, dtype).cast(pa.float64())
        absent = pc.or_(pc.is_in(wide, value_set=numbers), pc.fill_null(pc.is_nan(wide), False))
    else:
        return values
    return pc.if_else(absent, pa.scalar(None, values.type), values)


def null_numbers(null_values: tuple[str, ...], dtype: DType) -> pa.Array:
    """Those of the texts that count as missing that are numbers, as a column of a dtype has them.

    -999 and -999.0 are one number, and 0.1 is another in float32 than in float64.
    """
    return cast_elements(pa.array(null_values, pa.string()), dtype).drop_null()


def fill_value(rule: MissingRule, column: Column, summary: Summary | None) -> Fill:
    """What stands for a missing value, in the column's own type; a timestamp in microseconds.

    Args:
        rule: How to find it; not `drop`.
        column: The column.
        summary: Its values in the train split, timestamps in seconds; not needed for a constant.

    Raises:
        DataError: The column cannot hold the constant, or the train split has no value at all.
    """
    if rule.by == "constant":
        return _constant(rule, column)
    if summary is None or not summary.count:
        raise DataError(
            f"data.cleaning.{column.name}.missing: no row of the train split has a value to take "
            f"the {rule.by} of; use by: constant with a value, or drop the column."
        )
    found = _statistic(rule, summary)
    if found is None:
        raise DataError(
            f"data.cleaning.{column.name}.missing: no value of the train split is frequent enough "
            "to be its mode; use by: median, or by: constant with a value."
        )
    if isinstance(found, str):
        return found
    if not np.isfinite(found):
        raise DataError(
            f"data.cleaning.{column.name}.missing: the {rule.by} of the train split is beyond "
            "float64; bound the column by outliers first, or use by: median."
        )
    if column.dtype == "bool":
        return bool(found >= 0.5)
    if column.dtype == "timestamp":
        found *= US_PER_S
    return rounded(found, column)


def check_fill(rule: MissingRule, column: Column) -> None:
    """Refuse a rule that a column's type has no value for.

    Raises:
        DataError: It asks for the mean or the median of texts.
    """
    if column.dtype == "string" and rule.by in ("mean", "median"):
        raise DataError(
            f"data.cleaning.{column.name}.missing: the {rule.by} of texts is not defined; "
            "use by: mode, or by: constant with a value."
        )


def rounded(number: float, column: Column) -> int | float:
    """A number as the column can hold it: the nearest whole one, or the nearest of its floats."""
    kind = column.numpy_dtype
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return min(max(round(number), int(limits.min)), int(limits.max))
    return float(kind.type(number))


def _statistic(rule: MissingRule, summary: Summary) -> float | str | None:
    if rule.by == "mean":
        return summary.mean
    return summary.mode if rule.by == "mode" else summary.quantile(0.5)


def _constant(rule: MissingRule, column: Column) -> Fill:
    given: Any = rule.value
    text = str(given).lower() if isinstance(given, bool) else str(given)
    cast = cast_elements(pa.array([text]), column.dtype)
    if cast.null_count:
        raise DataError(
            f"data.cleaning.{column.name}.missing.value is {given!r}, expected "
            f"{EXPECTED if column.dtype == 'timestamp' else column.dtype}."
        )
    stored = cast.cast(pa.int64()) if column.dtype == "timestamp" else cast
    constant: Fill = stored[0].as_py()
    return constant
