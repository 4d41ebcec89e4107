"""A worker's share of a split that is read once in order, read ahead in bounded memory."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from shardline.data.feed import reading_ahead
from shardline.data.packing import Packed, gathered
from shardline.data.reused_memory import ReusedMemory
from shardline.data.row_groups import RowGroups
from shardline.data.worker_lanes import MAX_BYTES_AT_ONCE


@dataclass(frozen=True)
class InOrder:
    """Consecutive rows of a split, in batches.

    Args:
        groups: Reads them, and keeps them if it has a cache.
        start: Number of the first row.
        stop: And of the first one that is left out.
        batch_rows: Rows of every batch but the last one.
        threads: Row groups that are read and decoded at the same time.
        memory: Of what is handed over.
    """

    groups: RowGroups
    start: int
    stop: int
    batch_rows: int
    threads: int
    memory: ReusedMemory = field(default_factory=ReusedMemory)

    @property
    def num_batches(self) -> int:
        """Batches, the last one maybe short."""
        return -(-(self.stop - self.start) // self.batch_rows)

    def rows(self) -> Iterator[Packed]:
        """Every row once, packed, tables by column.

        Besides what is handed over, as many row groups are in memory as there are threads, and two.

        Yields:
            Rows of whole batches; at the end those of the short one.
        """
        at_once = self.batch_rows * self.batches_at_once
        rest = self.groups.layout.empty(0)
        with reading_ahead(self.threads) as pool:
            for part in self._parts(pool):
                found = _joined(rest, part) if len(rest[0]) else part
                whole = len(found[0]) // self.batch_rows * self.batch_rows
                for first in range(0, whole, at_once):
                    yield self._copied(found, first, min(first + at_once, whole))
                rest = tuple(block[whole:] for block in found)
        if len(rest[0]):
            yield self._copied(rest, 0, len(rest[0]))

    @property
    def batches_at_once(self) -> int:
        """Batches that are handed over together, at most."""
        batch_bytes = max(1, self.batch_rows * self.groups.layout.row_bytes)
        in_group = -(-int(np.diff(self.groups.bounds).max(initial=1)) // self.batch_rows)
        return max(1, min(MAX_BYTES_AT_ONCE // batch_bytes, in_group))

    def _parts(self, pool: ThreadPoolExecutor) -> Iterator[Packed]:
        """Row groups one after the other, without the rows that are not wanted."""
        wanted = self.groups.covering(self.start, self.stop) if self.start < self.stop else range(0)
        under_way: deque[Future[Packed]] = deque()
        following = iter(wanted)
        for group in wanted:
            while len(under_way) < self.threads and (ahead := next(following, None)) is not None:
                under_way.append(pool.submit(self.groups.read, ahead))
            first = int(self.groups.bounds[group])
            rows = slice(max(0, self.start - first), self.stop - first)
            yield tuple(block[rows] for block in under_way.popleft().result())

    def _copied(self, packed: Packed, start: int, stop: int) -> Packed:
        rows = np.arange(start, stop)
        return tuple(
            gathered(block, array, rows, self.memory, by_column=True)
            for block, array in zip(self.groups.layout.blocks, packed, strict=True)
        )


def _joined(first: Packed, second: Packed) -> Packed:
    return tuple(np.concatenate(pair) for pair in zip(first, second, strict=True))
