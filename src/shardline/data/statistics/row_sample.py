"""A sample of rows that merges: those with the smallest hashes, in whatever order they come.

It serves what one-column sketches cannot, dependencies between columns, and their quantiles as
well: with 65,536 rows these are within 0.5 % of rank at 99 % confidence, and the library's quantile
sketches, besides taking 40 to 100 ns a value, either draw random numbers that cannot be fixed (KLL)
or depend on the order (t-digest), so two processes would describe one dataset differently.
"""

from typing import Any

import numpy as np

Columns = dict[str, np.ndarray[Any, np.dtype[np.float64]]]
Rows = np.ndarray[Any, np.dtype[np.int64]]
UInt64s = np.ndarray[Any, np.dtype[np.uint64]]

MAX_ROWS = 65_536
MAX_BYTES = 16 << 20
ENDLESS = np.uint64(2**64 - 1)


def capacity_for(num_columns: int) -> int:
    """Most rows of a sample of so many float64 columns."""
    return max(1024, min(MAX_ROWS, MAX_BYTES // (8 * (num_columns + 1))))


def row_hashes(first_row: int, num_rows: int) -> UInt64s:
    """A well-mixed hash of every row number (splitmix64)."""
    hashes = np.arange(num_rows, dtype=np.uint64) + np.uint64(first_row)
    hashes = (hashes + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


class RowSample:
    """The rows with the smallest hashes among all offered, as float64 columns."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._limit = ENDLESS
        self._hashes: list[UInt64s] = []
        self._pieces: list[Columns] = []
        self._num_rows = 0

    def wanted(self, hashes: UInt64s) -> Rows:
        """Positions of the rows that may belong to the sample; the others need not be looked at."""
        return np.flatnonzero(hashes <= self._limit)

    def add(self, hashes: UInt64s, columns: Columns) -> None:
        """Put in wanted rows."""
        if not len(hashes):
            return
        self._hashes.append(hashes)
        self._pieces.append(columns)
        self._num_rows += len(hashes)
        if self._num_rows > 2 * self.capacity:
            self._shrink()

    def merge(self, other: "RowSample") -> None:
        """Put in all that another holds."""
        for hashes, columns in zip(other._hashes, other._pieces, strict=True):
            rows = self.wanted(hashes)
            self.add(hashes[rows], {name: values[rows] for name, values in columns.items()})

    def contents(self) -> tuple[UInt64s, Columns]:
        """Hashes in ascending order and the columns of their rows; no columns before any row."""
        self._shrink()
        return (self._hashes[0], self._pieces[0]) if self._hashes else (np.empty(0, np.uint64), {})

    def _shrink(self) -> None:
        if not self._hashes:
            return
        hashes = np.concatenate(self._hashes)
        order = _smallest(hashes, self.capacity)
        joined = {
            name: np.concatenate([piece[name] for piece in self._pieces])[order]
            for name in self._pieces[0]
        }
        self._hashes, self._pieces, self._num_rows = [hashes[order]], [joined], len(order)
        if len(order) == self.capacity:
            self._limit = self._hashes[0][-1]


def _smallest(hashes: UInt64s, count: int) -> Rows:
    """Positions of the smallest hashes in ascending order; of equal ones the first."""
    if len(hashes) > count:
        limit = np.partition(hashes, count - 1)[count - 1]
        candidates = np.flatnonzero(hashes <= limit)
    else:
        candidates = np.arange(len(hashes))
    ordered: Rows = candidates[np.argsort(hashes[candidates], kind="stable")][:count]
    return ordered
