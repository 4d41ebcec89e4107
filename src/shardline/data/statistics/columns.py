"""The sketch of one column, by the kind of its values."""

import base64
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.decoding import UndecodableError, opened
from shardline.data.statistics.distinct import DistinctCount
from shardline.data.statistics.moments import Moments
from shardline.data.statistics.row_sample import Columns
from shardline.data.statistics.top_values import NumberCounts, TextCounts
from shardline.data.statistics.values import (
    Filled,
    Kind,
    Numbers,
    encoded,
    filled,
    flat,
    is_nested,
    kind_of,
    numbers_of,
    text_hashes,
    text_lengths,
    value_lengths,
)

CODE_BITS = 52

SERIES: dict[Kind, tuple[str, ...]] = {
    "number": ("value",),
    "time": ("value",),
    "text": ("code", "length"),
    "tensor": ("element",),
    "list": ("element", "length"),
    "image": ("height", "width", "channels"),
}
"""What a sample of rows keeps of a column, by kind; NaN stands for nothing."""


class ColumnSketch:
    """Count, moments, different and frequent values of one column.

    Args:
        arrow_type: Of the column.
        counts_values: Whether to count different values, and frequent numbers.
    """

    def __init__(self, arrow_type: Any, *, counts_values: bool = True) -> None:
        self.kind = kind_of(arrow_type)
        self._counts_values = counts_values
        self.rows = 0
        """Rows with a value."""
        self.nulls = 0
        self.not_finite = 0
        """Values or elements that are NaN or infinite, which nothing else counts."""
        self.moments = Moments()
        """Of numbers and elements; times in seconds."""
        self.lengths = Moments()
        """Characters of texts, elements of lists, bytes of images."""
        self.distinct = DistinctCount()
        """Of texts, and of numbers of which there are too many to count."""
        self.numbers = NumberCounts()
        self.texts = TextCounts()

    @property
    def num_distinct(self) -> tuple[int, bool]:
        """How many different values there are, and whether that is exact."""
        if self.kind == "text":
            exact = self.texts.complete
            return self.texts.num_held if exact else self.distinct.estimate, exact
        exact = self.numbers.complete
        return len(self.numbers.values) if exact else self.distinct.estimate, exact

    def add(self, column: Filled) -> None:
        """Add the values of some rows."""
        self.rows += len(column.values)
        self.nulls += column.num_nulls
        if len(column.values):
            ADD[self.kind](self, column.values)

    def merge(self, other: "ColumnSketch") -> None:
        """Add the values of further rows."""
        self.rows += other.rows
        self.nulls += other.nulls
        self.not_finite += other.not_finite
        self.moments.merge(other.moments)
        self.lengths.merge(other.lengths)
        counted = (self.numbers.values, other.numbers.values)
        self.numbers.merge(other.numbers)
        self.distinct.merge(other.distinct)
        if not self.numbers.complete:
            for values in counted:
                self.distinct.add(values)
        self.texts.merge(other.texts)

    def dump(self) -> dict[str, Any]:
        """Plain values for `load`."""
        counts = {"rows": self.rows, "nulls": self.nulls, "not_finite": self.not_finite}
        return counts | {
            "moments": asdict(self.moments),
            "lengths": asdict(self.lengths),
            "distinct": base64.b64encode(self.distinct.dump()).decode(),
            "numbers": self.numbers.dump(),
            "texts": base64.b64encode(self.texts.dump()).decode(),
        }

    @classmethod
    def load(cls, arrow_type: Any, data: dict[str, Any]) -> "ColumnSketch":
        """What `dump` gave."""
        loaded = cls(arrow_type)
        loaded.rows, loaded.nulls = data["rows"], data["nulls"]
        loaded.not_finite = data["not_finite"]
        loaded.moments = Moments(**data["moments"])
        loaded.lengths = Moments(**data["lengths"])
        loaded.distinct = DistinctCount.load(base64.b64decode(data["distinct"]))
        loaded.numbers = NumberCounts.load(data["numbers"])
        loaded.texts = TextCounts.load(base64.b64decode(data["texts"]))
        return loaded

    def _add_numbers(self, values: Any) -> None:
        finite = self._finite(numbers_of(values))
        self.moments.add(finite)
        if not self._counts_values:
            return
        counted = self.numbers.values
        self.numbers.add(finite)
        if not self.numbers.complete:
            self.distinct.add(counted)
            self.distinct.add(finite)

    def _add_texts(self, values: Any) -> None:
        if is_nested(values.type):
            values = flat(values)
        found = encoded(values.drop_null())
        indices = found.indices.to_numpy(zero_copy_only=False)
        counts = np.bincount(indices, minlength=len(found.dictionary))
        present = counts > 0
        self.texts.add(found.dictionary, counts)
        if self._counts_values:
            self.distinct.add(text_hashes(found.dictionary)[present])
        self.lengths.add_counted(text_lengths(found.dictionary)[present], counts[present])

    def _add_elements(self, values: Any) -> None:
        self.moments.add(self._finite(numbers_of(flat(values).drop_null())))
        if self.kind == "list":
            self.lengths.add(value_lengths(values))

    def _add_images(self, values: Any) -> None:
        self.lengths.add(pc.binary_length(values).to_numpy(zero_copy_only=False))

    def _finite(self, numbers: Numbers) -> Numbers:
        if numbers.dtype.kind != "f":
            return numbers
        finite = np.isfinite(numbers)
        missing = len(numbers) - int(np.count_nonzero(finite))
        self.not_finite += missing
        return numbers[finite] if missing else numbers


ADD: dict[Kind, Callable[[ColumnSketch, Any], None]] = {
    "number": ColumnSketch._add_numbers,
    "time": ColumnSketch._add_numbers,
    "text": ColumnSketch._add_texts,
    "tensor": ColumnSketch._add_elements,
    "list": ColumnSketch._add_elements,
    "image": ColumnSketch._add_images,
}


def series_of(kind: Kind, column: Filled, hashes: Any) -> Columns:
    """What a sample keeps of a column.

    Args:
        kind: Of the column.
        column: Values of the sampled rows.
        hashes: Of all sampled rows, also those without a value.
    """
    if column.mask is None:
        found = READ[kind](column.values, hashes)
        return {name: found[name] for name in SERIES[kind]}
    return spread_out(kind, column.mask, READ[kind](column.values, hashes[column.mask]))


def spread_out(kind: Kind, mask: "np.ndarray[Any, np.dtype[np.bool_]]", found: Columns) -> Columns:
    """What was found for the rows that have a value, with NaN for those that have none."""
    whole = {name: np.full(len(mask), np.nan) for name in SERIES[kind]}
    for name, values in whole.items():
        values[mask] = found[name]
    return whole


def _read_numbers(values: Any, _hashes: Any) -> Columns:
    numbers = numbers_of(values).astype(np.float64)
    return {"value": np.where(np.isfinite(numbers), numbers, np.nan)}


def _read_texts(values: Any, hashes: Any) -> Columns:
    if is_nested(values.type):
        values = _drawn(values, hashes)
    column = filled(values)
    if column.mask is not None:
        return spread_out("text", column.mask, _read_texts(column.values, hashes))
    found = encoded(values)
    indices = found.indices.to_numpy(zero_copy_only=False)
    # The upper bits of a hash, as many as a float64 holds exactly, stand for a text.
    codes = (text_hashes(found.dictionary) >> np.uint64(64 - CODE_BITS)).astype(np.float64)
    lengths = text_lengths(found.dictionary).astype(np.float64)
    return {"code": codes[indices], "length": lengths[indices]}


def _read_elements(values: Any, hashes: Any) -> Columns:
    elements = _drawn(values, hashes).cast(pa.float64()).to_numpy(zero_copy_only=False)
    finite = np.where(np.isfinite(elements), elements, np.nan)
    return {"element": finite, "length": value_lengths(values).astype(np.float64)}


def _drawn(values: Any, hashes: Any) -> Any:
    """One element of every row, drawn by its hash: together a sample of all elements."""
    lengths = value_lengths(values)
    starts = np.cumsum(lengths) - lengths
    places = starts + (hashes % np.maximum(lengths, 1).astype(np.uint64)).astype(np.int64)
    return flat(values).take(pa.array(places, mask=lengths == 0))


def _read_images(values: Any, _hashes: Any) -> Columns:
    shapes = np.array([_shape_of(data) for data in values.to_pylist()], np.float64).reshape(-1, 3)
    return dict(zip(SERIES["image"], shapes.T, strict=True))


def _shape_of(data: bytes) -> tuple[float, float, float]:
    try:
        image = opened(data)
    except UndecodableError:
        return np.nan, np.nan, np.nan
    return image.height, image.width, len(image.getbands())


READ: dict[Kind, Callable[[Any, Any], Columns]] = {
    "number": _read_numbers,
    "time": _read_numbers,
    "text": _read_texts,
    "tensor": _read_elements,
    "list": _read_elements,
    "image": _read_images,
}
