"""Values of a request, treated as the rows were that the model learned from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.cleaning.missing import null_numbers
from shardline.data.cleaning.text import normalised
from shardline.data.elements import cast_elements
from shardline.data.schema import Column
from shardline.data.treatment import Treatment
from shardline.serving.refusals import MalformedRequestError
from shardline.serving.values import Array, column_array, unwrapped_scalars


def client_columns(inputs: Sequence[Column]) -> list[Column]:
    """What a client sends for these inputs: indicators are made of the columns they speak of."""
    known = {column.name: column for column in inputs}
    sent: dict[str, Column] = {}
    for column in inputs:
        name = column.indicates or column.name
        sent.setdefault(name, known.get(name, column.model_copy(update={"name": name})))
    return list(sent.values())


def may_lack(column: Column) -> bool:
    """Whether a client may leave a value out, or send null."""
    return column.treatment is not None and column.treatment.fill is not None


def input_array(rows: list[Any], column: Column) -> Array:
    """The values of an input as an array `(rows, *shape)`, or `(rows, 1)` for a scalar column.

    Args:
        rows: What the client sent for it; for an indicator, for the column it speaks of.
        column: The input.

    Raises:
        MalformedRequestError: A value has the wrong type, shape or size, or is one that rows were
            set aside for when the dataset was made.
    """
    treatment = column.treatment
    if treatment is None or (column.shape and column.indicates is None):
        return column_array(rows, column)
    values = _written(unwrapped_scalars(rows), treatment)
    missing = _missing(values, column, treatment)
    if column.indicates is not None:
        return missing.astype(column.numpy_dtype)[:, None]
    if treatment.map:
        values = _mapped(values, missing, treatment, column)
    if treatment.fill is not None:
        values = [
            treatment.fill if gone else value for value, gone in zip(values, missing, strict=True)
        ]
    elif treatment.drop_missing and missing.any():
        row = int(missing.argmax())
        raise _refused(column, row, f"{values[row]!r}, which counts as missing", _noun(column))
    return _bounded(column_array(values, column), missing, column, treatment)


def _written(values: list[Any], treatment: Treatment) -> list[Any]:
    if treatment.text is None:
        return values
    places = [place for place, value in enumerate(values) if type(value) is str]
    texts = normalised(pa.array([values[p] for p in places], pa.string()), treatment.text)
    written = list(values)
    for place, text in zip(places, texts.to_pylist(), strict=True):
        written[place] = text
    return written


def _missing(values: list[Any], column: Column, treatment: Treatment) -> Array:
    """Which values count as missing; numbers are compared as the column holds them."""
    # An indicator's own type says nothing of the column it speaks of.
    is_number = column.numpy_dtype.kind in "iuf" and column.indicates is None
    dtype = column.dtype if is_number and column.dtype != "timestamp" else "float64"
    numbers = frozenset(null_numbers(treatment.null_values, dtype).to_pylist())
    kind = Column(name="", dtype=dtype).numpy_dtype.type

    def is_missing(value: Any) -> bool:
        if type(value) is str:
            return value in treatment.null_values
        if type(value) is bool or not isinstance(value, int | float):
            return value is None
        if value in numbers or value != value:
            return True
        # More than float64 holds is no number that counts as missing.
        wide = isinstance(value, float) and dtype in ("float16", "float32")
        return wide and kind(value).item() in numbers

    with np.errstate(over="ignore"):
        return np.array([is_missing(value) for value in values])


def _mapped(values: list[Any], missing: Array, treatment: Treatment, column: Column) -> list[Any]:
    names, found = _held(treatment.map or {}, column), []
    for row, (value, gone) in enumerate(zip(values, missing, strict=True)):
        text = _as_text(value)
        if not gone and text not in names and treatment.unmapped == "quarantine":
            raise _refused(column, row, repr(value), f"one of {', '.join(map(repr, names))}")
        kept = text if column.dtype == "string" and isinstance(value, bool | int | float) else value
        found.append(value if gone else names.get(text, kept))
    return found


def _held(names: Mapping[str, str | float], column: Column) -> dict[str, Any]:
    """New names in the column's own type; one that it cannot hold stays as it is."""
    cast = cast_elements(pa.array([str(new) for new in names.values()]), column.dtype).to_pylist()
    return {
        old: new if held is None else held
        for (old, new), held in zip(names.items(), cast, strict=True)
    }


def _as_text(value: Any) -> str:
    """A value as it was written when rows were prepared, which is what mappings name."""
    if isinstance(value, bool | float) or (type(value) is int and abs(value) < 2**63):
        written: str = pa.array([value]).cast(pa.string())[0].as_py()
        return written
    return str(value)


def _bounded(array: Array, missing: Array, column: Column, treatment: Treatment) -> Array:
    low = -np.inf if treatment.low is None else treatment.low
    high = np.inf if treatment.high is None else treatment.high
    if treatment.beyond is None:
        return array
    beyond = ((array < low) | (array > high)) & ~missing[:, None]
    if not beyond.any():
        return array
    if treatment.beyond == "quarantine":
        row = int(beyond[:, 0].argmax())
        raise _refused(column, row, str(array[row, 0]), f"a number from {low} to {high}")
    clipped: Array = np.where(beyond, np.clip(array, treatment.low, treatment.high), array)
    return clipped


def _noun(column: Column) -> str:
    return "a string" if column.dtype == "string" else column.dtype


def _refused(column: Column, row: int, got: str, expected: str) -> MalformedRequestError:
    return MalformedRequestError(
        f"column {column.name!r}, row {row}: got {got}, expected {expected}."
    )
