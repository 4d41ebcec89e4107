"""Raw Arrow columns to the types a schema declares; what does not fit is named row by row.

Casts are safe ones: a number that the declared type cannot hold exactly as a whole number, or at
all, rejects its row. Decimals round to the declared float width, as every reader of text does.
Times become no numbers, whose unit nobody would know, and bytes become nothing but text.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.elements import cast_elements, dtype_of, is_list, mask_of, plain
from shardline.data.padding import Padding, kept_elements, laid_out
from shardline.data.schema import Column
from shardline.data.timestamps import (
    EXPECTED,
    is_moment,
)
from shardline.errors import DataError
from shardline.spec.data import DType

MAX_SHOWN = 40


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
    values = plain(raw)
    title = f"{role} {column.name!r}"
    try:
        if column.padding is not None:
            return _cast_lists(values, column, column.padding, title)
        if column.shape:
            return _cast_tensor(values, column, title)
        cast = cast_elements(values, column.dtype)
    except pa.ArrowNotImplementedError as error:
        raise _unsupported(title, values.type, column) from error
    bad = np.flatnonzero(mask_of(pc.is_null(cast))) if cast.null_count else ()
    return CastColumn(cast, {int(i): f"{title} {_found(values[i], column.dtype)}" for i in bad})


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


def _cast_tensor(values: pa.Array, column: Column, title: str) -> CastColumn:
    if isinstance(values.type, pa.FixedShapeTensorType):
        if list(values.type.permutation or ()) != sorted(values.type.permutation or ()):
            raise _unsupported(title, values.type, column)
        declared = tuple(values.type.shape) == column.shape
        fits = np.full(len(values), declared) & ~mask_of(pc.is_null(values))
        lists = values.storage
    elif is_list(values.type):
        fits, lists = _fitting(values, column.shape), values
    elif pa.types.is_null(values.type):
        fits, lists = np.zeros(len(values), bool), pa.nulls(len(values), pa.list_(pa.null()))
    else:
        raise _unsupported(title, values.type, column)
    flat = cast_elements(_flattened(lists.filter(pa.array(fits))), column.dtype)
    size = int(np.prod(column.shape))
    unsound = mask_of(pc.is_null(flat)).reshape(-1, size).any(axis=1)
    faults = {int(i): f"{title} {_found_list(values[i], column)}" for i in np.flatnonzero(~fits)}
    for i in np.flatnonzero(fits)[unsound]:
        faults[int(i)] = _bad_element(title, column.dtype)
    return CastColumn(_spread(flat, fits, column), faults)


def _cast_lists(values: pa.Array, column: Column, padding: Padding, title: str) -> CastColumn:
    """Lists of any length as tensors of one."""
    lists = values.storage if isinstance(values.type, pa.FixedShapeTensorType) else values
    if pa.types.is_null(lists.type):
        lists = pa.nulls(len(lists), pa.list_(pa.null()))
    if not is_list(lists.type):
        raise _unsupported(title, values.type, column)
    if is_list(lists.type.value_type):
        raise _unsupported(title, values.type, column)
    (size,) = column.shape
    found = pc.fill_null(pc.list_value_length(lists), -1)
    lengths = found.to_numpy(zero_copy_only=False).astype(np.int64)
    fits = (lengths >= 0) & ((lengths <= size) | (padding.longer == "cut"))
    faults = {
        int(i): f"{title} " + ("is null" if lengths[i] < 0 else _too_long(lengths[i], column))
        for i in np.flatnonzero(~fits)
    }
    flat, lengths = plain(lists.filter(pa.array(fits)).flatten()), lengths[fits]
    if (lengths > size).any():
        flat = flat.filter(pa.array(kept_elements(lengths, size)))
        lengths = np.minimum(lengths, size)
    cast = cast_elements(flat, column.dtype)
    owners = np.flatnonzero(fits)[np.repeat(np.arange(len(lengths)), lengths)]
    for row in np.unique(owners[mask_of(pc.is_null(cast))]):
        faults[int(row)] = _bad_element(title, column.dtype)
    elements = pc.fill_null(cast, pa.scalar(0, cast.type)).to_numpy(zero_copy_only=False)
    rows = laid_out(elements, lengths, size=size, value=padding.value)
    return CastColumn(_spread(pa.array(rows.ravel(), cast.type), fits, column), faults)


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
    return plain(values)


def _found(value: Any, dtype: DType) -> str:
    if not value.is_valid:
        return "is null"
    text = shown(value)
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return f"is {cut}, expected {noun_of(dtype)}"


def shown(value: Any) -> str:
    """An Arrow value as sentences show it."""
    try:
        return repr(value.as_py())
    except (ValueError, OverflowError):  # a time beyond what Python holds
        return f"{value.value} in {value.type}"


def _found_list(value: Any, column: Column) -> str:
    if not value.is_valid:
        return "is null"
    shape = getattr(value.type, "shape", None) or _shape_of(value.as_py())
    return f"has shape {list(shape)}, expected {list(column.shape)}"


def _shape_of(value: Any) -> list[int]:
    return [len(value), *_shape_of(value[0] if value else 0)] if isinstance(value, list) else []


def _holds_fields(arrow_type: Any) -> bool:
    """Whether values are structures or maps, or lists of them."""
    while is_list(arrow_type):
        arrow_type = arrow_type.value_type
    return bool(pa.types.is_struct(arrow_type) or pa.types.is_map(arrow_type))


def _too_long(length: int, column: Column) -> str:
    return f"has {length} elements, expected at most {column.shape[0]}"


def _bad_element(title: str, dtype: DType) -> str:
    return f"{title} has an element that is null or no {noun_of(dtype)}"


def noun_of(dtype: DType) -> str:
    """What a value of a dtype is called in a sentence."""
    if dtype == "timestamp":
        return EXPECTED
    return f"finite {dtype}" if dtype.startswith("float") else dtype


def _unsupported(title: str, arrow_type: Any, column: Column) -> DataError:
    shape = f" of shape {list(column.shape)}" if column.shape else ""
    return DataError(
        f"{title} holds {arrow_type}, which cannot become {column.dtype}{shape}; "
        f"{_advice(title, arrow_type, column)}."
    )


def _advice(title: str, arrow_type: Any, column: Column) -> str:
    if column.dtype == "timestamp":
        return "write times as ISO 8601 texts or as Arrow's timestamps, whose unit is known"
    if title.startswith("key"):
        return "choose a data.split.key of texts or numbers"
    if title.startswith("label") and pa.types.is_nested(arrow_type):
        return "name a column of classes or numbers in data.label.name"
    if title.startswith("kept"):
        return "leave the column out of data.keep, or write what is in it as columns of its own"
    if is_moment(arrow_type) and not column.shape and title.startswith("feature"):
        return "declare dtype: timestamp, or leave the column out of data.features"
    if _holds_fields(arrow_type):
        return "leave it out of data.features, or write what is in it as columns of its own"
    return "declare another dtype or shape, or leave the column out of data.features"
