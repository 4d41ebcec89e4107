"""Which values are frequent: exact while there are few, a frequent-items sketch for texts."""

import hashlib
from collections import deque
from typing import Any

import datasketches
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Numbers with more different values have a distribution rather than frequent values.
MAX_NUMBERS = 2048
FIRST = 2 * MAX_NUMBERS
# Exact up to three quarters of it, about 49 thousand texts; beyond, rare ones are dropped: the
# vocabulary lies in the manifest, which everyone reads, and a free text must not make it huge.
LOG2_TEXTS = 16
# A cell of a million characters must not be kept a hundred thousand times.
MAX_CHARACTERS = 256

Ranked = list[tuple[Any, int]]
"""Values and their counts, most frequent first, the smaller value first among equals."""


class NumberCounts:
    """Every value and its count, until there are too many values."""

    def __init__(self, values: Any = None, counts: Any = None) -> None:
        self.values = np.empty(0) if values is None else values
        """The different values, ascending; none when there were too many."""
        self._counts = np.empty(0, np.int64) if counts is None else counts
        self.complete = True
        """False when there were too many values; then none is known."""

    @property
    def integral(self) -> bool:
        """Whether the values counted are whole numbers by type."""
        return self.values.dtype.kind in "iu"

    def add(self, values: "np.ndarray[Any, Any]") -> None:
        """Count finite numbers, always of one dtype."""
        if not self.complete or not len(values):
            return
        # A column of measurements shows itself at once, and need not be counted to the end.
        for piece in (values[:FIRST], values[FIRST:]):
            if self.complete and len(piece):
                found = pc.value_counts(pa.array(piece))
                self._put(found.field(0).to_numpy(), found.field(1).to_numpy())

    def merge(self, other: "NumberCounts") -> None:
        """Add the counts of further numbers."""
        self.complete = self.complete and other.complete
        self._put(other.values, other._counts)

    def ranked(self) -> Ranked:
        """All values; none if there were too many."""
        order = np.lexsort((self.values, -self._counts))
        return list(zip(self.values[order].tolist(), self._counts[order].tolist(), strict=True))

    def dump(self) -> dict[str, Any]:
        """For `load`."""
        kept = {"values": self.values.tolist(), "counts": self._counts.tolist()}
        return kept | {"dtype": self.values.dtype.str, "complete": self.complete}

    @classmethod
    def load(cls, data: dict[str, Any]) -> "NumberCounts":
        """What `dump` wrote."""
        loaded = cls(np.array(data["values"], data["dtype"]), np.array(data["counts"], np.int64))
        loaded.complete = data["complete"]
        return loaded

    def _put(self, values: Any, counts: Any) -> None:
        if not len(self.values):
            self.values = self.values.astype(values.dtype)
        together = np.concatenate([self.values, values])
        distinct, place = np.unique(together, return_inverse=True)
        self.complete = self.complete and len(distinct) <= MAX_NUMBERS
        if not self.complete:
            self.values, self._counts = self.values[:0], self._counts[:0]
            return
        totals = np.zeros(len(distinct), np.int64)
        np.add.at(totals, place, np.concatenate([self._counts, counts]))
        self.values, self._counts = distinct, totals


class TextCounts:
    """The most frequent texts; long ones are counted by their beginning and length."""

    def __init__(self) -> None:
        self._sketch = datasketches.frequent_strings_sketch(LOG2_TEXTS)

    @property
    def complete(self) -> bool:
        """Whether every count is exact and no text is missing."""
        # The bounds of any text, counted or not, are as far apart as the sketch may err.
        return bool(self._sketch.get_upper_bound("") == self._sketch.get_lower_bound(""))

    @property
    def num_held(self) -> int:
        """Different texts that are counted now."""
        number: int = self._sketch.num_active_items
        return number

    def add(self, texts: Any, counts: "np.ndarray[Any, np.dtype[np.int64]]") -> None:
        """Count texts.

        Args:
            texts: Arrow array.
            counts: How often each occurs.
        """
        # Where there are too many texts to count, those that occur once among the 65,536 rows that
        # come together are not frequent, and would take most of the time.
        chosen = np.flatnonzero(counts > (0 if self.complete else 1))
        names = texts.take(pa.array(chosen)).to_pylist()
        kept = (name if len(name) <= MAX_CHARACTERS else shortened(name) for name in names)
        deque(map(self._sketch.update, kept, counts[chosen].tolist()), maxlen=0)

    def merge(self, other: "TextCounts") -> None:
        """Add the counts of further texts."""
        self._sketch.merge(other._sketch)

    def ranked(self) -> Ranked:
        """Texts that are certainly among the frequent ones, with estimated counts."""
        return self._items(datasketches.frequent_items_error_type.NO_FALSE_POSITIVES)

    def vocabulary(self) -> tuple[str, ...]:
        """Every text that may be a frequent one, most frequent first; none that is too long."""
        found = self._items(datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES)
        return tuple(text for text, _ in found if len(text) <= MAX_CHARACTERS)

    def dump(self) -> bytes:
        """For `load`."""
        data: bytes = self._sketch.serialize()
        return data

    @classmethod
    def load(cls, data: bytes) -> "TextCounts":
        """What `dump` wrote."""
        loaded = cls()
        loaded._sketch = datasketches.frequent_strings_sketch.deserialize(data)
        return loaded

    def _items(self, chosen: Any) -> Ranked:
        items = self._sketch.get_frequent_items(chosen, 0)
        return sorted(((text, count) for text, count, _, _ in items), key=_most_frequent)


def shortened(text: str) -> str:
    """How a long text is counted and shown."""
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{text[:MAX_CHARACTERS]}… ({len(text)} characters, {digest})"


def _most_frequent(item: tuple[str, int]) -> tuple[int, str]:
    text, count = item
    return -count, text
