"""The *window* form of a lane's order: row groups permuted, rows permuted inside a bounded window.

A lane's rows lie in pieces, the parts of row groups that fall into it. The pieces are permuted and
read one after the other: the stream. The stream is cut into windows, the first one of random
length, and a keyed permutation orders the rows inside each. So a reader needs one window of rows at
a time, and where an epoch stands is found without reading what came before.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shardline.data.permutation import permuted_range, round_keys

Int64s = NDArray[np.int64]

# What keys are for; the full form has those without a purpose.
_PIECES, _FIRST_WINDOW, _WINDOW = 1, 2, 3
# Two windows of 128 lanes: 17 MB with the row groups that `prepare` writes.
CACHED_WINDOWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowForm:
    """What decides the window form, beside lanes and seed."""

    row_groups: tuple[int, ...]
    """Rows of each row group of the split, in order."""
    rows: int
    """Rows of a window, at most."""
    epochs: int
    """The first epochs, which have this form."""


@dataclass(frozen=True, slots=True)
class LaneStream:
    """One lane in one epoch: the rows in the order they are read, and the windows they are cut to.

    A *position* counts the rows that the lane has given; a *place* counts along the stream.
    """

    key: tuple[int, int, int]
    """Seed, epoch and lane."""
    starts: Int64s
    """Number of the first row of each piece, in the epoch's order, int64 [pieces]."""
    ends: Int64s
    """Place after each piece, with a 0 in front, int64 [pieces + 1]."""
    first_rows: int
    """Rows of the first window."""
    window_rows: int
    """Rows of the others, but for the last one."""

    @property
    def num_rows(self) -> int:
        """Rows of the lane."""
        return int(self.ends[-1])

    def window_of(self, position: int) -> int:
        """Number of the window that holds a position; it holds the same places."""
        return (position + self.window_rows - self.first_rows) // self.window_rows

    def span(self, window: int) -> tuple[int, int]:
        """First position of a window and its end."""
        end = self.first_rows + window * self.window_rows
        return max(0, end - self.window_rows), min(end, self.num_rows)

    def places(self, start: int, stop: int) -> Int64s:
        """Places of the rows at consecutive positions."""
        parts = []
        for window in range(self.window_of(start), self.window_of(stop - 1) + 1):
            first, end = self.span(window)
            inside = window_permutation(*self.key, window, end - first)
            parts.append(inside[max(start, first) - first : min(stop, end) - first] + first)
        return np.concatenate(parts)

    def rows(self, start: int, stop: int) -> Int64s:
        """Row numbers at consecutive positions.

        A window's pieces are few and long: looking places up in a list of all its places takes
        half the time of searching for the piece of each.
        """
        places = self.places(start, stop)
        first, end = self.span(self.window_of(start))[0], self.span(self.window_of(stop - 1))[1]
        begin = int(np.searchsorted(self.ends, first, side="right")) - 1
        pieces = slice(begin, int(np.searchsorted(self.ends, end)))
        offsets = self.starts[pieces] - self.ends[pieces]
        cuts = np.append(self.ends[pieces], end).clip(first)
        found: Int64s = places + np.repeat(offsets, np.diff(cuts))[places - first]
        return found


def lane_stream(
    form: WindowForm, lane_range: tuple[int, int], *, key: tuple[int, int, int]
) -> LaneStream:
    """The stream of a lane, in O(row groups).

    Args:
        form: Row groups of the split, and the window.
        lane_range: First row and end of the lane.
        key: Seed, epoch and lane.
    """
    starts, sizes = _pieces(form.row_groups, *lane_range)
    number = len(starts)
    order = permuted_range(number, keys=round_keys(*key, _PIECES)).astype(np.int64)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[order])])
    first = int(round_keys(*key, _FIRST_WINDOW)[0] % np.uint64(form.rows)) + 1
    return LaneStream(key, starts[order], ends, first, form.rows)


@lru_cache(maxsize=CACHED_WINDOWS)
def window_permutation(seed: int, epoch: int, lane: int, window: int, size: int) -> Int64s:
    """Where the rows of a window come from inside it, int64 [size]."""
    keys = round_keys(seed, epoch, lane, _WINDOW, window + 1)
    inside = permuted_range(size, keys=keys).astype(np.int64)
    inside.flags.writeable = False  # shared by all who ask
    return inside


def _pieces(row_groups: tuple[int, ...], start: int, stop: int) -> tuple[Int64s, Int64s]:
    """First row and number of rows of every part of a row group that lies in the range."""
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(row_groups, dtype=np.int64)])
    cuts = np.unique(np.clip(bounds, start, stop))
    return cuts[:-1], np.diff(cuts)
