"""One row as a client sends it: what the endpoint takes as an instance, and `score` as a row."""

import base64
import io
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from shardline.data.cleaning.raw_rows import raw_names
from shardline.data.decoding import MODES
from shardline.data.elements import cast_elements
from shardline.data.schema import Column

MAX_ELEMENTS = 4096
"""Longer rows would hide what else stands in `model.json`."""
MAX_IMAGE_BYTES = 16 << 10
THUMBNAIL_PIXELS = 64

Array = np.ndarray[Any, Any]


def example_row(
    rows: Mapping[str, Array], inputs: Sequence[Column], features: Mapping[str, Column]
) -> dict[str, JsonValue] | None:
    """The first row that lacks nothing, else the first one.

    Args:
        rows: Prepared rows: every input, and every feature that an input indicates.
        inputs: What the model takes.
        features: The dataset's features by name.

    Returns:
        Values by the names of raw rows: lists without what pads them, times as ISO 8601, encoded
        images as `{"b64": …}` of a PNG. None if there would be more than `MAX_ELEMENTS` elements.
    """
    columns = [features[name] for name in raw_names(tuple(inputs))]
    plain = sum(prod(column.shape) for column in columns if not column.encoded)
    if plain > MAX_ELEMENTS:
        return None
    row = _complete_row(rows, inputs)
    return {column.name: _value(rows[column.name][row], column) for column in columns}


def _complete_row(rows: Mapping[str, Array], inputs: Sequence[Column]) -> int:
    indicators = [rows[column.name][:, 0] for column in inputs if column.indicates]
    if not indicators:
        return 0
    return int(np.argmin(np.sum([flags.astype(bool) for flags in indicators], axis=0)))


def _value(array: Array, column: Column) -> JsonValue:
    if column.encoded:
        return {"b64": base64.b64encode(_png(array)).decode()}
    if not column.shape:
        return _as_sent(_element(array.reshape(-1)[0], column), array.reshape(-1)[0], column)
    if column.padding is not None:
        kept = np.flatnonzero(array != column.padding.value)
        array = array[: kept[-1] + 1 if len(kept) else 0]
    elements = np.empty(array.size, dtype=object)
    elements[:] = [_element(value, column) for value in array.ravel()]
    nested: JsonValue = elements.reshape(array.shape).tolist()
    return nested


def _element(value: Any, column: Column) -> JsonValue:
    if column.dtype == "string":
        return str(value)
    if column.dtype == "timestamp":
        return f"{np.datetime64(int(value), 'us')}Z"
    if column.dtype.startswith("float"):
        return float(str(value))  # 0.1, where a float32's own digits are 0.10000000149011612
    plain: JsonValue = value.item()
    return plain


def _as_sent(element: JsonValue, value: Any, column: Column) -> JsonValue:
    """The value that becomes this one by the column's treatment; None for a filled one.

    What raw rows may not hold, although the dataset does, can only have been filled in.
    """
    treatment = column.treatment
    if treatment is None:
        return element
    if treatment.map and treatment.unmapped == "quarantine":
        new = cast_elements(pa.array([str(name) for name in treatment.map.values()]), column.dtype)
        held = zip(treatment.map, new.to_pylist(), strict=True)
        return next((old for old, name in held if name == value), None)
    low = -np.inf if treatment.low is None else treatment.low
    high = np.inf if treatment.high is None else treatment.high
    if treatment.beyond == "quarantine" and not low <= value <= high:
        return None
    return element


def _png(samples: Array) -> bytes:
    """An image file of the samples; of many, a smaller one, which is stretched when it is read."""
    from PIL import Image

    height, width, channels = samples.shape
    image = Image.frombytes(MODES[channels], (width, height), samples.tobytes())
    data = _written(image)
    if len(data) <= MAX_IMAGE_BYTES:
        return data
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    return _written(image)


def _written(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
