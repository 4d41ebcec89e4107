"""Elements of Arrow arrays as a dtype's type, null where they cannot be had."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.number_text import is_finite, number_text, parsed
from shardline.data.partial_cast import cast_where_possible
from shardline.data.schema import scalar_arrow_type
from shardline.data.timestamps import MOMENT, is_moment, moments_of_texts, moments_of_times
from shardline.spec.data import DType


def cast_elements(values: pa.Array, dtype: DType) -> pa.Array:
    """Values in Arrow's type for `dtype`, null where they are null, do not fit or are not finite.

    Raises:
        pa.ArrowNotImplementedError: There is no cast between the types.
    """
    if _is_sound(values, dtype):
        return values
    _refuse_meaningless(values.type, dtype)
    if dtype == "timestamp":
        return _moments(values)
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())  # Arrow 26 casts halves to integers by their bits
    if dtype == "string":
        return cast_where_possible(values, pa.string())
    return _cast_to_numbers(values, dtype)


def dtype_of(arrow_type: Any) -> DType | None:
    """The dtype that holds an Arrow element type, None if there is none."""
    if pa.types.is_dictionary(arrow_type):
        return dtype_of(arrow_type.value_type)
    if is_text(arrow_type) or pa.types.is_string_view(arrow_type):
        return "string"
    if pa.types.is_boolean(arrow_type):
        return "bool"
    if pa.types.is_decimal(arrow_type):
        return "float64"
    if is_moment(arrow_type):
        return "timestamp"
    if pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type):
        name: DType = str(np.dtype(arrow_type.to_pandas_dtype()))  # type: ignore[assignment]
        return name
    return None


def is_text(arrow_type: Any) -> bool:
    """Whether values are text, or fixed-shape tensors of text."""
    if isinstance(arrow_type, pa.FixedShapeTensorType):
        return is_text(arrow_type.value_type)
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def is_list(arrow_type: Any) -> bool:
    """Whether one value holds several elements."""
    return bool(
        pa.types.is_list(arrow_type)
        or pa.types.is_large_list(arrow_type)
        or pa.types.is_fixed_size_list(arrow_type)
    )


def plain(raw: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The same values in one array without dictionaries, runs or views, nulls at their places."""
    values = raw
    if isinstance(raw, pa.ChunkedArray):
        # A single chunk is taken as it is: joining would copy it.
        values = raw.chunk(0) if raw.num_chunks == 1 else raw.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    elif pa.types.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
    if pa.types.is_string_view(values.type):
        return values.cast(pa.string())
    return values.cast(pa.binary()) if pa.types.is_binary_view(values.type) else values


def mask_of(array: pa.Array) -> "np.ndarray[Any, Any]":
    """Booleans as numpy has them, null being false."""
    mask: np.ndarray[Any, Any] = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask


def _cast_to_numbers(values: pa.Array, dtype: DType) -> pa.Array:
    if pa.types.is_decimal(values.type) and dtype in ("bool", "float16"):
        values = values.cast(pa.float64())  # Arrow 26 has no such cast of decimals
    if is_text(values.type):
        cast = parsed(values, dtype)
        if cast is not None:
            return cast
        values = number_text(values, dtype)
    elif dtype == "bool" and not pa.types.is_boolean(values.type):
        values = pc.if_else(pc.is_in(values, pa.array([0, 1], values.type)), values, None)
    elif "int" in dtype and pa.types.is_floating(values.type):
        values = pc.if_else(pc.equal(values, pc.trunc(values)), values, None)
    if not dtype.startswith("float"):
        return cast_where_possible(values, scalar_arrow_type(dtype))
    return _cast_to_float(values, dtype)


def _cast_to_float(values: pa.Array, dtype: DType) -> pa.Array:
    target = scalar_arrow_type(dtype)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    cast = cast_where_possible(values, target)
    present = ~mask_of(pc.is_null(cast))
    numbers = cast.to_numpy(zero_copy_only=False)
    sound = present & np.isfinite(numbers)
    if dtype == "float16" and pa.types.is_integer(values.type):
        # For the other widths Arrow itself refuses whole numbers that would be rounded.
        exact = cast_where_possible(cast.cast(pa.float64()), pa.int64())
        sound &= mask_of(pc.equal(exact, cast_where_possible(values, pa.int64())))
    if sound.all():
        return cast
    return pc.if_else(pa.array(sound), cast, pa.nulls(len(cast), target))


def _refuse_meaningless(arrow_type: Any, dtype: DType) -> None:
    """Stop casts that Arrow would do, or fail at, value by value: by ticks, bits or looks."""
    if dtype == "timestamp":
        makes_sense = is_moment(arrow_type) or is_text(arrow_type) or pa.types.is_null(arrow_type)
    else:
        has_none = pa.types.is_temporal(arrow_type) or _is_bytes(arrow_type)
        makes_sense = not pa.types.is_nested(arrow_type) and (dtype == "string" or not has_none)
    if not makes_sense:
        raise pa.ArrowNotImplementedError(f"no cast from {arrow_type} to {dtype}")


def _is_bytes(arrow_type: Any) -> bool:
    return bool(
        pa.types.is_binary(arrow_type)
        or pa.types.is_large_binary(arrow_type)
        or pa.types.is_fixed_size_binary(arrow_type)
    )


def _moments(values: pa.Array) -> pa.Array:
    if is_text(values.type):
        return moments_of_texts(values)
    return moments_of_times(values) if is_moment(values.type) else values.cast(MOMENT)


def _is_sound(values: pa.Array, dtype: DType) -> bool:
    """Whether values are what they shall become."""
    if values.type != scalar_arrow_type(dtype):
        return False
    return not pa.types.is_floating(values.type) or is_finite(values)
