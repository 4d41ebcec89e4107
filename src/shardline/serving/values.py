"""Values of one column in a request: nested JSON lists to one array of the schema's type and shape.

Lists are opened level by level with set and chain operations that run in C, so that checking a row
of 784 floats costs microseconds and a fault is still reported with its row.
"""

import base64
from collections.abc import Callable
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.decoding import UndecodableError, decoded_image
from shardline.data.padding import Padding
from shardline.data.schema import Column
from shardline.data.timestamps import EXPECTED, moments_of_texts
from shardline.serving.refusals import MalformedRequestError

Array = np.ndarray[Any, Any]

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}
_MAX_SHOWN_CHARACTERS = 40
_MOMENT = f"{EXPECTED}, or whole microseconds since 1970"


def json_kind(value: Any) -> str:
    """What a decoded JSON value is called in a sentence."""
    return _KINDS[type(value)]


def takes_bytes(column: Column) -> bool:
    """Whether a value may be `{"b64": "base64 text"}`: a string, or an encoded image."""
    return column.dtype == "string" or column.encoded


def column_array(rows: list[Any], column: Column) -> Array:
    """The values of one column as an array `(rows, *shape)`, or `(rows, 1)` for a scalar column.

    Raises:
        MalformedRequestError: A value has the wrong type, shape or size, or is an image file that
            does not decode.
    """
    if column.encoded and set(map(type, rows)) == {dict}:
        return np.stack([_image(value, row, column) for row, value in enumerate(rows)])
    if column.encoded and dict in set(map(type, rows)):
        images = enumerate(rows)
        rows = [_image(v, row, column).tolist() if type(v) is dict else v for row, v in images]
    if not column.shape:
        rows = unwrapped_scalars(rows)
    if column.padding is not None:
        rows = _padded(rows, column, column.padding)
    flat = rows
    for size in column.shape:
        if set(map(type, flat)) != {list} or set(map(len, flat)) != {size}:
            raise _wrong_shape(rows, column)
        flat = list(chain.from_iterable(flat))
    if list in set(map(type, flat)):
        raise _wrong_shape(rows, column)
    convert = _moments if column.dtype == "timestamp" else _CONVERTERS[column.numpy_dtype.kind]
    return convert(flat, column).reshape(len(rows), *(column.shape or (1,)))


def unwrapped_scalars(rows: list[Any]) -> list[Any]:
    """A scalar may come bare or in a list of one."""
    if list not in set(map(type, rows)):
        return rows
    return [row[0] if type(row) is list and len(row) == 1 else row for row in rows]


def _padded(rows: list[Any], column: Column, padding: Padding) -> list[Any]:
    """Lists of the column's length; whatever is no list is left for others to refuse."""
    (size,) = column.shape
    found = []
    for index, row in enumerate(rows):
        if type(row) is list and len(row) < size:
            row = [*row, *[padding.value] * (size - len(row))]
        elif type(row) is list and len(row) > size and padding.longer == "cut":
            row = row[:size]
        elif type(row) is list and len(row) > size:
            raise MalformedRequestError(
                f"column {column.name!r}, row {index}: got {len(row)} elements, expected at most "
                f"{size}."
            )
        found.append(row)
    return found


def _moments(flat: list[Any], column: Column) -> Array:
    """Whole microseconds since 1970, or ISO 8601 texts."""
    if set(map(type, flat)) == {int}:
        return _integers(flat, column)
    _check_types(flat, column, allowed=(int, str))
    places = [place for place, value in enumerate(flat) if type(value) is str]
    read = moments_of_texts(pa.array([flat[place] for place in places], pa.string()))
    moments = list(flat)
    for place, moment in zip(places, read.cast(pa.int64()).to_pylist(), strict=True):
        if moment is None:
            raise _wrong_value(flat, place, column, _MOMENT)
        moments[place] = moment
    return _integers(moments, column)


def _floats(flat: list[Any], column: Column) -> Array:
    _check_types(flat, column, allowed=(int, float))
    try:
        wide = np.array(flat, dtype=np.float64)
    except OverflowError:
        raise _out_of_range(flat, column, limit=float(np.finfo(np.float64).max)) from None
    with np.errstate(over="ignore"):
        narrow = wide.astype(column.numpy_dtype)
    if np.isfinite(narrow).all() or (np.isfinite(narrow) == np.isfinite(wide)).all():
        return narrow
    raise _out_of_range(flat, column, limit=float(np.finfo(column.numpy_dtype).max))


def _integers(flat: list[Any], column: Column) -> Array:
    _check_types(flat, column, allowed=(int,))
    limits = np.iinfo(column.numpy_dtype)
    if min(flat) < limits.min or max(flat) > limits.max:
        index = next(i for i, v in enumerate(flat) if not limits.min <= v <= limits.max)
        raise _wrong_value(flat, index, column, f"an integer from {limits.min} to {limits.max}")
    return np.array(flat, dtype=column.numpy_dtype)


def _booleans(flat: list[Any], column: Column) -> Array:
    _check_types(flat, column, allowed=(bool,))
    return np.array(flat, dtype=np.bool_)


def _strings(flat: list[Any], column: Column) -> Array:
    _check_types(flat, column, allowed=(str, dict))
    array = np.empty(len(flat), dtype=object)
    array[:] = [
        value if type(value) is str else _decoded_bytes(flat, index, column)
        for index, value in enumerate(flat)
    ]
    return array


_CONVERTERS: dict[str, Callable[[list[Any], Column], Array]] = {
    "f": _floats,
    "i": _integers,
    "u": _integers,
    "b": _booleans,
    "O": _strings,
}


def _decoded_bytes(flat: list[Any], index: int, column: Column) -> bytes:
    data = _from_base64(flat[index])
    if data is None:
        raise _wrong_value(flat, index, column, 'a string or {"b64": "base64 text"}')
    return data


def _from_base64(value: Any) -> bytes | None:
    """What `{"b64": "base64 text"}` stands for, None if a value is something else."""
    if type(value) is dict and list(value) == ["b64"] and type(value["b64"]) is str:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except ValueError:
            pass
    return None


def _image(value: Any, row: int, column: Column) -> Array:
    """The samples of an image file."""
    data = _from_base64(value)
    if data is None:
        raise MalformedRequestError(
            f'column {column.name!r}, row {row}: got an object, expected {{"b64": "base64 text"}} '
            f"of an image file, or nested lists of shape {list(column.shape)}."
        )
    try:
        return decoded_image(data, column)
    except UndecodableError as error:
        raise MalformedRequestError(f"column {column.name!r}, row {row}: image {error}.") from error


def _check_types(flat: list[Any], column: Column, *, allowed: tuple[type, ...]) -> None:
    # Exact types: to Python a bool is an int, to the schema it is not.
    if set(map(type, flat)) <= set(allowed):
        return
    index = next(i for i, value in enumerate(flat) if type(value) not in allowed)
    noun = _MOMENT if column.dtype == "timestamp" else column.dtype
    raise _wrong_value(flat, index, column, noun)


def _out_of_range(flat: list[Any], column: Column, *, limit: float) -> MalformedRequestError:
    index = next(i for i, value in enumerate(flat) if limit < abs(value) != float("inf"))
    return _wrong_value(flat, index, column, f"a {column.dtype} of at most ±{limit:.6g}")


def _wrong_value(
    flat: list[Any], index: int, column: Column, expected: str
) -> MalformedRequestError:
    row = index // prod(column.shape)
    shown = repr(flat[index])
    if len(shown) > _MAX_SHOWN_CHARACTERS:
        shown = shown[:_MAX_SHOWN_CHARACTERS] + "…"
    return MalformedRequestError(
        f"column {column.name!r}, row {row}: got {json_kind(flat[index])} ({shown}), "
        f"expected {expected}."
    )


def _wrong_shape(rows: list[Any], column: Column) -> MalformedRequestError:
    shapes = (_shape_of(row) for row in rows)
    row, shape = next((i, s) for i, s in enumerate(shapes) if s != column.shape)
    got = "ragged lists" if shape is None else f"shape {list(shape)}"
    return MalformedRequestError(
        f"column {column.name!r}, row {row}: got {got}, expected shape {list(column.shape)}."
    )


def _shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of nested lists, None if they are ragged. Iterative: input nests as it likes."""
    shape: list[int] = []
    level = [value]
    while list in set(map(type, level)):
        if set(map(type, level)) != {list} or len(set(map(len, level))) != 1:
            return None
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
    return tuple(shape)
