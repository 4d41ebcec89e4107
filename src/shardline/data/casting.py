"""Raw Arrow columns to the types a schema declares; what does not fit is named row by row.

Casts are safe ones: a number that the declared type cannot hold exactly as a whole number, or at
all, rejects its row. Decimals round to the declared float width, as every reader of text does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.schema import Column, scalar_arrow_type
from shardline.errors import DataError
from shardline.spec.data import DType

MAX_SHOWN = 40
# Arrow would also read 0x10 as sixteen; a row that says so is a mistake.
_NOTATIONS = {
    "int": r"^-?\d+(\.0*)?$",
    "float": r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$",
    "bool": r"^([tT]rue|TRUE|[fF]alse|FALSE|[01])$",
}


@dataclass(frozen=True)
class CastColumn:
    """A column in its declared type."""

    values: pa.Array
    """As many as there were; null where a row has a fault."""
    faults: dict[int, str]
    """What is wrong, by position; for a fault that a text column may carry, nothing."""


def cast_column(raw: pa.ChunkedArray | pa.Array, column: Column, *, role: str) -> CastColumn:
    """Cast one column.

    Args:
        raw: Values as the reader found them.
        column: What they shall be.
        role: `feature`, `label`, `key` or `kept column`, for the sentences.

    Raises:
        DataError: No value of this Arrow type can become the column.
    """
    values = _plain(raw)
    title = f"{role} {column.name!r}"
    try:
        if column.shape:
            return _cast_tensor(values, column, title)
        cast = cast_elements(values, column.dtype)
    except pa.ArrowNotImplementedError as error:
        raise _unsupported(title, values.type, column) from error
    bad = np.flatnonzero(_mask(pc.is_null(cast))) if cast.null_count else ()
    return CastColumn(cast, {int(i): f"{title} {_found(values[i], column.dtype)}" for i in bad})


def cast_elements(values: pa.Array, dtype: DType) -> pa.Array:
    """Values in Arrow's type for `dtype`, null where they are null, do not fit or are not finite.

    Raises:
        pa.ArrowNotImplementedError: There is no cast between the types.
    """
    if _is_sound(values, dtype):
        return values
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())  # Arrow 26 casts halves to integers by their bits
    if dtype == "string":
        return _cast_where_possible(values, pa.string())
    if is_text(values.type):
        cast = _parsed(values, dtype)
        if cast is not None:
            return cast
        values = _number_text(values, dtype)
    elif dtype == "bool" and not pa.types.is_boolean(values.type):
        values = pc.if_else(pc.is_in(values, pa.array([0, 1], values.type)), values, None)
    elif "int" in dtype and pa.types.is_floating(values.type):
        values = pc.if_else(pc.equal(values, pc.trunc(values)), values, None)
    if not dtype.startswith("float"):
        return _cast_where_possible(values, scalar_arrow_type(dtype))
    return _cast_to_float(values, dtype)


def dtype_of(arrow_type: Any) -> DType | None:
    """The dtype that holds an Arrow element type, None if there is none."""
    if pa.types.is_dictionary(arrow_type):
        return dtype_of(arrow_type.value_type)
    if is_text(arrow_type):
        return "string"
    if pa.types.is_boolean(arrow_type):
        return "bool"
    if pa.types.is_decimal(arrow_type):
        return "float64"
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


def column_of(arrow_type: Any, name: str) -> Column:
    """The column that an array of a type made by `Column.arrow_type` holds."""
    shape = tuple(getattr(arrow_type, "shape", ()))
    dtype = dtype_of(arrow_type.value_type if shape else arrow_type)
    return Column.model_validate({"name": name, "dtype": dtype, "shape": shape})


def tensor_array(flat: pa.Array, column: Column) -> pa.Array:
    """Elements in row-major order as an array of fixed-shape tensors."""
    size = int(np.prod(column.shape))
    storage = pa.FixedSizeListArray.from_arrays(flat, size)
    return pa.ExtensionArray.from_storage(column.arrow_type, storage)


def _plain(raw: pa.ChunkedArray | pa.Array) -> pa.Array:
    values = raw
    if isinstance(raw, pa.ChunkedArray):
        # A single chunk is taken as it is: joining would copy it.
        values = raw.chunk(0) if raw.num_chunks == 1 else raw.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values


def _is_sound(values: pa.Array, dtype: DType) -> bool:
    """Whether values are what they shall become."""
    if values.type != scalar_arrow_type(dtype):
        return False
    return not pa.types.is_floating(values.type) or _is_finite(values)


def _cast_where_possible(values: pa.Array, target: Any) -> pa.Array:
    """Cast by halves until the offenders stand alone; Arrow has no cast that yields null."""
    try:
        return values.cast(target, safe=True)
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, target)
        half = len(values) // 2
        parts = [values.slice(0, half), values.slice(half)]
        return pa.concat_arrays([_cast_where_possible(part, target) for part in parts])


def _cast_to_float(values: pa.Array, dtype: DType) -> pa.Array:
    target = scalar_arrow_type(dtype)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    cast = _cast_where_possible(values, target)
    present = ~_mask(pc.is_null(cast))
    numbers = cast.to_numpy(zero_copy_only=False)
    sound = present & np.isfinite(numbers)
    if dtype == "float16" and pa.types.is_integer(values.type):
        # For the other widths Arrow itself refuses whole numbers that would be rounded.
        exact = _cast_where_possible(cast.cast(pa.float64()), pa.int64())
        sound &= _mask(pc.equal(exact, _cast_where_possible(values, pa.int64())))
    if sound.all():
        return cast
    return pc.if_else(pa.array(sound), cast, pa.nulls(len(cast), target))


def _parsed(values: pa.Array, dtype: DType) -> pa.Array | None:
    """Text that is in Arrow's own notation throughout, thirty times as fast as by its looks.

    None where anything needs a closer look: blanks, plus signs, hexadecimal, overflow.
    """
    if dtype == "bool" or dtype == "float16":
        return None
    try:
        cast = values.cast(scalar_arrow_type(dtype))
    except pa.ArrowInvalid:
        return None
    if dtype.startswith("float"):
        return cast if _is_finite(cast) else None
    return None if _holds_letters(values) else cast


def _is_finite(cast: pa.Array) -> bool:
    # numpy looks at a number in a third of a nanosecond, Arrow's min_max takes ten.
    numbers = (cast.drop_null() if cast.null_count else cast).to_numpy()
    return bool(np.isfinite(numbers).all())


def _holds_letters(values: pa.Array) -> bool:
    """Whether integers are written in hexadecimal, which Arrow takes and people do not mean."""
    _, offsets, data = values.buffers()
    if data is None:
        return False
    wide = pa.types.is_large_string(values.type)
    ends = np.frombuffer(offsets, np.int64 if wide else np.int32)
    start, stop = ends[values.offset], ends[values.offset + len(values)]
    return bool((np.frombuffer(data, np.uint8)[start:stop] > ord("9")).any())


def _number_text(values: pa.Array, dtype: DType) -> pa.Array:
    """Text in the notation that Arrow parses (no blanks, plus or `.0`); null if it is no number.

    Whatever can be told by its looks is sorted out here: isolating it by failed casts would cost
    eighty microseconds a value.
    """
    trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r"^\+", "")
    kind = "int" if "int" in dtype else "float" if "float" in dtype else "bool"
    looks_right = pc.match_substring_regex(trimmed, _NOTATIONS[kind])
    sound = pc.if_else(looks_right, trimmed, pa.scalar(None, trimmed.type))
    return pc.replace_substring_regex(sound, r"\.0*$", "") if kind == "int" else sound


def _cast_tensor(values: pa.Array, column: Column, title: str) -> CastColumn:
    if isinstance(values.type, pa.FixedShapeTensorType):
        if list(values.type.permutation or ()) != sorted(values.type.permutation or ()):
            raise _unsupported(title, values.type, column)
        declared = tuple(values.type.shape) == column.shape
        fits = np.full(len(values), declared) & ~_mask(pc.is_null(values))
        lists = values.storage
    elif is_list(values.type):
        fits, lists = _fitting(values, column.shape), values
    elif pa.types.is_null(values.type):
        fits, lists = np.zeros(len(values), bool), pa.nulls(len(values), pa.list_(pa.null()))
    else:
        raise _unsupported(title, values.type, column)
    flat = cast_elements(_flattened(lists.filter(pa.array(fits))), column.dtype)
    size = int(np.prod(column.shape))
    unsound = _mask(pc.is_null(flat)).reshape(-1, size).any(axis=1)
    faults = {int(i): f"{title} {_found_list(values[i], column)}" for i in np.flatnonzero(~fits)}
    for i in np.flatnonzero(fits)[unsound]:
        faults[int(i)] = f"{title} has an element that is null or no {_noun(column.dtype)}"
    return CastColumn(_spread(flat, fits, column), faults)


def _spread(flat: pa.Array, fits: "np.ndarray[Any, Any]", column: Column) -> pa.Array:
    """Tensors at the positions that fit, null elsewhere."""
    tensors = tensor_array(flat, column)
    if fits.all():
        return tensors
    places = pa.array(np.cumsum(fits) - 1, pa.int64(), mask=~fits)
    return pa.ExtensionArray.from_storage(column.arrow_type, tensors.storage.take(places))


def _fitting(values: pa.Array, shape: tuple[int, ...]) -> "np.ndarray[Any, Any]":
    """Which rows have the declared shape, nested as declared or flat in row-major order."""
    nested = is_list(values.type.value_type)
    expected = shape[0] if nested and shape else int(np.prod(shape))
    lengths = pc.fill_null(pc.list_value_length(values), -1)
    fits: np.ndarray[Any, Any] = np.asarray(lengths) == expected
    if nested:
        inner = _fitting(values.filter(pa.array(fits)).flatten(), shape[1:])
        fits[fits] = inner.reshape(-1, expected).all(axis=1)
    return fits


def _flattened(values: pa.Array) -> pa.Array:
    while is_list(values.type):
        values = values.flatten()
    return _plain(values)


def _mask(array: pa.Array) -> "np.ndarray[Any, Any]":
    mask: np.ndarray[Any, Any] = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    return mask


def _found(value: Any, dtype: DType) -> str:
    if not value.is_valid:
        return "is null"
    shown = repr(value.as_py())
    cut = shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "…"
    return f"is {cut}, expected {_noun(dtype)}"


def _found_list(value: Any, column: Column) -> str:
    if not value.is_valid:
        return "is null"
    shape = getattr(value.type, "shape", None) or _shape_of(value.as_py())
    return f"has shape {list(shape)}, expected {list(column.shape)}"


def _shape_of(value: Any) -> list[int]:
    return [len(value), *_shape_of(value[0] if value else 0)] if isinstance(value, list) else []


def _noun(dtype: DType) -> str:
    return f"finite {dtype}" if dtype.startswith("float") else dtype


def _unsupported(title: str, arrow_type: Any, column: Column) -> DataError:
    shape = f" of shape {list(column.shape)}" if column.shape else ""
    return DataError(
        f"{title} holds {arrow_type}, which cannot become {column.dtype}{shape}; "
        "declare another dtype or shape, or leave the column out of data.features."
    )
