"""Sums around a ring: every rank adds to what arrives and passes it on.

Reduce-scatter and all-gather (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
clusters of workstations", JPDC 2009): every rank sends and receives 2 (N-1)/N of the data, whatever
N is. Each chunk is summed once, in ring order, and then passed on as it is, so all ranks end with
the same bits.
"""

from typing import Any, Protocol

import numpy as np

from shardline.training.exchange.links import PIECE_BYTES, Neighbours

# Pieces sent before the first one is waited for, so that neither side waits for a wake-up.
PIECES_AHEAD = 3


class Sums(Protocol):
    """One rank's addends and what becomes of them, a piece at a time."""

    itemsize: int
    """Bytes of a value between ranks."""

    def own(self, piece: slice) -> memoryview:
        """This rank's addends as they travel."""

    def passed_on(self, piece: slice) -> memoryview:
        """What arrived before, with this rank's addends where it was a sum in the making."""

    def add(self, piece: slice, arrived: memoryview, *, is_last: bool) -> None:
        """Add this rank's addends to a sum in the making; the last rank makes it the result."""

    def target(self, piece: slice) -> memoryview:
        """Where a result is to arrive."""

    def take(self, piece: slice) -> None:
        """A result is there."""


def reduce_around(neighbours: Neighbours, sums: Sums, *, size: int, rank: int, count: int) -> None:
    """Make sums of all ranks' addends.

    Args:
        neighbours: The links.
        sums: What to sum.
        size: Number of values.
        rank: This worker's number.
        count: Number of workers.
    """
    bounds = [size * part // count for part in range(count + 1)]
    chunks = [
        _pieces(bounds[part], bounds[part + 1], PIECE_BYTES // sums.itemsize)
        for part in range(count)
    ]
    for step in range(2 * (count - 1)):
        leaving, arriving = chunks[(rank - step) % count], chunks[(rank - step - 1) % count]
        for index in range(max(len(leaving), len(arriving)) + PIECES_AHEAD):
            if index < len(leaving):
                piece = leaving[index]
                neighbours.send(sums.passed_on(piece) if step else sums.own(piece))
            if 0 <= index - PIECES_AHEAD < len(arriving):
                piece = arriving[index - PIECES_AHEAD]
                num_bytes = (piece.stop - piece.start) * sums.itemsize
                if step < count - 1:
                    arrived = neighbours.receive(num_bytes)
                    sums.add(piece, arrived, is_last=step == count - 2)
                else:
                    neighbours.receive(num_bytes, sums.target(piece))
                    sums.take(piece)
    neighbours.flush()


class PlainSums:
    """Values travel as they are.

    Args:
        source: This rank's addends, one-dimensional.
        result: What to fill; may be the source itself.
        scale: What sums are multiplied by.
    """

    def __init__(self, source: Any, result: Any, *, scale: float) -> None:
        self.itemsize: int = source.itemsize
        self._source = source
        self._result = result
        self._scale = scale

    def own(self, piece: slice) -> memoryview:
        """This rank's addends."""
        return _as_bytes(self._source[piece])

    def passed_on(self, piece: slice) -> memoryview:
        """Sums."""
        return _as_bytes(self._result[piece])

    def add(self, piece: slice, arrived: memoryview, *, is_last: bool) -> None:
        """Add, and scale at last."""
        result = self._result[piece]
        np.add(np.frombuffer(arrived, result.dtype), self._source[piece], out=result)
        if is_last and self._scale != 1.0:
            np.multiply(result, result.dtype.type(self._scale), out=result)

    def target(self, piece: slice) -> memoryview:
        """The result's own memory."""
        return _as_bytes(self._result[piece])

    def take(self, piece: slice) -> None:
        """Nothing is left to do."""


class NarrowSums:
    """Values travel narrower than they are summed.

    Args:
        source: This rank's addends, one-dimensional.
        result: What to fill; may be the source itself.
        scale: What sums are multiplied by.
        scratch: As many values of a narrower dtype: what travels.
    """

    def __init__(self, source: Any, result: Any, *, scale: float, scratch: Any) -> None:
        self.itemsize: int = scratch.itemsize
        self._source = source
        self._result = result
        self._scale = source.dtype.type(scale)
        self._scratch = scratch

    def own(self, piece: slice) -> memoryview:
        """This rank's addends, narrowed."""
        self._scratch[piece] = self._source[piece]
        return _as_bytes(self._scratch[piece])

    def passed_on(self, piece: slice) -> memoryview:
        """Narrow sums."""
        return _as_bytes(self._scratch[piece])

    def add(self, piece: slice, arrived: memoryview, *, is_last: bool) -> None:
        """Widen, add, scale at last, narrow; the last rank keeps what the others will get."""
        scratch, source = self._scratch[piece], self._source[piece]
        total = np.frombuffer(arrived, scratch.dtype).astype(source.dtype)
        np.add(total, source, out=total)
        if is_last and self._scale != 1.0:
            np.multiply(total, self._scale, out=total)
        scratch[...] = total
        if is_last:
            self._result[piece] = scratch

    def target(self, piece: slice) -> memoryview:
        """Scratch, to be passed on as it is."""
        return _as_bytes(self._scratch[piece])

    def take(self, piece: slice) -> None:
        """Widen a result."""
        self._result[piece] = self._scratch[piece]


def _pieces(start: int, stop: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def _as_bytes(array: "np.ndarray[Any, Any]") -> memoryview:
    return array.view(np.uint8).data
