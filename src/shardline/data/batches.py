"""A worker's rows in memory, and the batches cut from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shardline.data.manifest import DatasetManifest, Shard, Split
from shardline.data.order import Order, Rows
from shardline.data.reading import column_to_numpy, shard_table
from shardline.data.schema import Column
from shardline.spec.data import SplitName
from shardline.store import Store

Batch = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows of a split, one array per column."""

    start: int
    """Number of the first row in the split."""
    columns: Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]
    """Arrays of shape (rows, *shape); (rows, 1) for scalar columns."""
    num_rows: int

    def take(self, rows: Rows) -> Batch:
        """A batch of the rows with these numbers."""
        local = rows - self.start
        return {name: array[local] for name, array in self.columns.items()}


def read_block(
    store: Store,
    dataset: DatasetManifest,
    split: SplitName,
    *,
    rows: tuple[int, int],
    columns: Sequence[Column],
) -> RowBlock:
    """Read only the row groups that hold rows `rows[0]` up to, not including, `rows[1]`."""
    start, stop = rows
    names = [column.name for column in columns]
    parts: dict[str, list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]] = {
        name: [] for name in names
    }
    for shard, groups, first in _covering_groups(dataset.split(split), start, stop):
        table = shard_table(store, dataset, shard, columns=names, row_groups=groups)
        table = table.slice(max(0, start - first), stop - max(start, first))
        for column in columns:
            array = column_to_numpy(table.column(column.name), column)
            parts[column.name].append(array.reshape(-1, *(column.shape or (1,))))
    joined = {
        column.name: np.concatenate(parts[column.name])
        if parts[column.name]
        else np.empty((0, *(column.shape or (1,))), dtype=column.numpy_dtype)
        for column in columns
    }
    return RowBlock(start=start, columns=joined, num_rows=max(0, stop - start))


def epoch_batches(
    block: RowBlock, order: Order, *, epoch: int, first_step: int, lanes: range
) -> Iterator[Batch]:
    """The local batches of one epoch, from `first_step` on."""
    for step in range(first_step, order.steps_per_epoch):
        yield block.take(order.batch_rows(epoch=epoch, step=step, lanes=lanes))


def sequential_batches(block: RowBlock, *, batch_rows: int) -> Iterator[Batch]:
    """Every row once, in order; the last batch may be short."""
    for start in range(0, block.num_rows, batch_rows):
        yield {name: array[start : start + batch_rows] for name, array in block.columns.items()}


def worker_share(num_rows: int, *, rank: int, world_size: int) -> tuple[int, int]:
    """First row and end of a worker's equal share of rows that are read once, in order."""
    return rank * num_rows // world_size, (rank + 1) * num_rows // world_size


def _covering_groups(split: Split, start: int, stop: int) -> Iterator[tuple[Shard, list[int], int]]:
    """Shards and row groups that overlap the range, with the number of the first row read."""
    position = 0
    for shard in split.shards:
        groups: list[int] = []
        first = position
        for index, rows in enumerate(shard.row_groups):
            if position < stop and position + rows > start:
                if not groups:
                    first = position
                groups.append(index)
            position += rows
        if groups:
            yield shard, groups, first
