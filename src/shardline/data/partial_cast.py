"""Casts that leave null where a single value does not fit; Arrow knows only all or nothing."""

from typing import Any

import pyarrow as pa


def cast_where_possible(values: pa.Array, target: Any) -> pa.Array:
    """The values in another type, null where they were null or cannot be had exactly.

    Raises:
        pa.ArrowNotImplementedError: There is no cast between the types.
    """
    try:
        return values.cast(target, safe=True)
    except pa.ArrowInvalid:
        # By halves, until the offenders stand alone.
        if len(values) == 1:
            return pa.nulls(1, target)
        half = len(values) // 2
        parts = [values.slice(0, half), values.slice(half)]
        return pa.concat_arrays([cast_where_possible(part, target) for part in parts])
