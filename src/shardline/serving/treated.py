"""Values of a request, treated as the rows were that the model learned from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.cleaning.text import normalised
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
    missing = np.array([_is_missing(value, treatment) for value in values])
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


def _is_missing(value: Any, treatment: Treatment) -> bool:
    if type(value) is str:
        return value in treatment.null_values
    if type(value) is bool or not isinstance(value, int | float):
        return value is None
    return value != value or _number_text(value) in treatment.null_values


def _number_text(value: float) -> str:
    """A number as the spec writes it: a whole one without its `.0`."""
    return str(int(value)) if value == value // 1 and abs(value) < 2**53 else str(value)


def _mapped(values: list[Any], missing: Array, treatment: Treatment, column: Column) -> list[Any]:
    names, found = treatment.map or {}, []
    for row, (value, gone) in enumerate(zip(values, missing, strict=True)):
        text = _as_text(value)
        if not gone and text not in names and treatment.unmapped == "quarantine":
            raise _refused(column, row, repr(value), f"one of {', '.join(map(repr, names))}")
        found.append(value if gone else names.get(text, value))
    return found


def _as_text(value: Any) -> str:
    """A value as the spec's mappings name it."""
    if type(value) is bool:
        return str(value).lower()
    return _number_text(value) if isinstance(value, int | float) else str(value)


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
