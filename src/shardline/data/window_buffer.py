"""The rows of the lanes' open windows, in memory of fixed size."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from shardline.data.packing import Layout, Packed, gathered
from shardline.data.reused_memory import ReusedMemory


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one row group that belong to one lane."""

    needed: tuple[int, int]
    """Epoch and step that first take from its window."""
    lane: int
    """Index among the worker's lanes."""
    place: int
    """Of its first row, counted along the lane's streams of all epochs."""
    group: int
    skipped: int
    """Rows of the group before its first row."""
    rows: int

    @property
    def part(self) -> slice:
        """Which rows of the group they are."""
        return slice(self.skipped, self.skipped + self.rows)


class WindowBuffer:
    """A ring of `capacity` rows for every lane: place p of a stream lies at p modulo `capacity`.

    Args:
        layout: How rows are packed.
        num_lanes: Lanes of the worker.
        capacity: Rows of each ring; what a step needs and what is read ahead must fit.
    """

    def __init__(self, layout: Layout, *, num_lanes: int, capacity: int) -> None:
        self.capacity = capacity
        self._layout = layout
        self._arrays = layout.empty(num_lanes * capacity)
        self._memory = ReusedMemory()
        self._firsts = np.arange(num_lanes)[:, np.newaxis] * capacity

    def write(self, piece: Piece, rows: Packed) -> None:
        """Put the piece's rows in place; threads may write different pieces at the same time."""
        ring = piece.lane * self.capacity
        written = 0
        while written < piece.rows:
            at = (piece.place + written) % self.capacity
            now = min(piece.rows - written, self.capacity - at)
            for target, source in zip(self._arrays, rows, strict=True):
                target[ring + at : ring + at + now] = source[written : written + now]
            written += now

    def indices(self, places: Any) -> Any:
        """Where places of shape (lanes, n) lie, to be handed to `take` in any order."""
        return places % self.capacity + self._firsts

    def take(self, indices: Any, *, by_column: bool = False) -> Packed:
        """A copy of these rows, as `gathered` makes it."""
        return tuple(
            gathered(block, array, indices, self._memory, by_column=by_column)
            for block, array in zip(self._layout.blocks, self._arrays, strict=True)
        )
