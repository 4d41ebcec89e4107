"""A sample of rows that merges: those with the smallest hashes, in whatever order they come.

It serves what one-column sketches cannot, dependencies between columns, and their quantiles as
well: with 65,536 rows these are within 0.5 % of rank at 99 % confidence, and the library's quantile
sketches, besides taking 40 to 100 ns a value, either draw random numbers that cannot be fixed (KLL)
or depend on the order (t-digest), so two processes would describe one dataset differently.
"""

from math import sqrt
from typing import Any

import numpy as np

Columns = dict[str, np.ndarray[Any, np.dtype[np.float64]]]
Rows = np.ndarray[Any, np.dtype[np.int64]]
UInt64s = np.ndarray[Any, np.dtype[np.uint64]]

MAX_ROWS = 65_536
MAX_BYTES = 16 << 20
ENDLESS = 2**64 - 1
# Standard deviations by which the sample of many parts is sure to be full.
SAFETY = 6.0


def capacity_for(num_columns: int) -> int:
    """Most rows of a sample of so many float64 columns."""
    return max(1024, min(MAX_ROWS, MAX_BYTES // (8 * (num_columns + 1))))


def limit_for(capacity: int, expected_rows: int) -> int:
    """The hash above which no row of so many can belong to the sample.

    Every part of a large whole then keeps only its share, not a sample of its own.
    """
    share = (capacity + SAFETY * sqrt(capacity)) / max(1, expected_rows)
    return ENDLESS if share >= 1 else int(share * 2**64)


def row_hashes(first_row: int, num_rows: int) -> UInt64s:
    """A well-mixed hash of every row number (splitmix64)."""
    hashes = np.arange(num_rows, dtype=np.uint64) + np.uint64(first_row)
    hashes = (hashes + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


class RowSample:
    """The rows with the smallest hashes among all offered, as float64 columns.

    Args:
        capacity: Most rows.
        limit: Rows with larger hashes are not wanted from the start; see `limit_for`.
    """

    def __init__(self, capacity: int, limit: int = ENDLESS) -> None:
        self.capacity = capacity
        self.limit = np.uint64(limit)
        """Largest hash that a row of the sample may have."""
        self._hashes: list[UInt64s] = []
        self._pieces: list[Columns] = []
        self._num_rows = 0
        self._is_shrunk = False

    def wanted(self, hashes: UInt64s) -> Rows:
        """Positions of the rows that may belong to the sample; the others need not be looked at."""
        return np.flatnonzero(hashes <= self.limit)

    def add(self, hashes: UInt64s, columns: Columns) -> None:
        """Put in wanted rows."""
        if not len(hashes):
            return
        self._hashes.append(hashes)
        self._pieces.append(columns)
        self._num_rows += len(hashes)
        self._is_shrunk = False
        if self._num_rows > 2 * self.capacity:
            self._shrink()

    def merge(self, other: "RowSample") -> None:
        """Put in all that another holds."""
        self.limit = min(self.limit, other.limit)
        self._is_shrunk = False
        for hashes, columns in zip(other._hashes, other._pieces, strict=True):
            rows = self.wanted(hashes)
            self.add(hashes[rows], {name: values[rows] for name, values in columns.items()})

    def contents(self) -> tuple[UInt64s, Columns]:
        """Hashes in ascending order and the columns of their rows; no columns before any row."""
        self._shrink()
        return (self._hashes[0], self._pieces[0]) if self._hashes else (np.empty(0, np.uint64), {})

    def _shrink(self) -> None:
        if not self._hashes or self._is_shrunk:
            return
        hashes = np.concatenate(self._hashes)
        order = _smallest(hashes, self.capacity, self.limit)
        joined = {
            name: np.concatenate([piece[name] for piece in self._pieces])[order]
            for name in self._pieces[0]
        }
        self._hashes, self._pieces, self._num_rows = [hashes[order]], [joined], len(order)
        self._is_shrunk = True
        if len(order) == self.capacity:
            self.limit = self._hashes[0][-1]


def _smallest(hashes: UInt64s, count: int, limit: np.uint64) -> Rows:
    """Positions of the smallest hashes in ascending order; of equal ones the first."""
    if len(hashes) > count:
        limit = min(limit, np.partition(hashes, count - 1)[count - 1])
    candidates = np.flatnonzero(hashes <= limit)
    ordered: Rows = candidates[np.argsort(hashes[candidates], kind="stable")][:count]
    return ordered
