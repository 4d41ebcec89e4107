"""A worker's rows: in the order of its steps while it trains, or a range of them in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import pyarrow as pa

from shardline.data.feed import Feed, reading_threads
from shardline.data.forms import fits_cache, split_order
from shardline.data.in_order import InOrder
from shardline.data.manifest import DatasetManifest, Shard, Split
from shardline.data.reading import column_to_numpy, shard_table
from shardline.data.row_groups import RowGroups
from shardline.data.schema import Column, scalar_arrow_type
from shardline.spec.data import SplitName
from shardline.spec.train import TrainSpec
from shardline.store import Store

Batch = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows of a split, one array per column."""

    columns: Mapping[str, "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"]
    """Arrays of shape (rows, *shape); (rows, 1) for scalar columns."""
    num_rows: int


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
    return RowBlock(columns=joined, num_rows=max(0, stop - start))


def open_feed(
    store: Store,
    dataset: DatasetManifest,
    split: SplitName,
    *,
    columns: Sequence[Column],
    train: TrainSpec,
    share: tuple[int, int] = (0, 1),
) -> Feed:
    """A worker's rows in the order of its steps; keeps them on this machine if the split fits.

    Args:
        store: Where the dataset lives.
        dataset: What to read.
        split: Of which rows.
        columns: What of a row.
        train: Batch, lanes, seed, epochs, form of the order, the cache, and CPUs to read with.
        share: The worker's rank, and how many workers there are.

    Raises:
        DataError: The split is smaller than one global batch.
        SpecError: `order: full` of a split that does not fit the cache.
        ResourceError: The cache's folder cannot be written, and an epoch needs it.
    """
    order = split_order(dataset, split, train)
    groups = RowGroups(store, dataset, split, columns)
    if fits_cache(dataset, split, train):
        groups.needs_cache = order.window_form(train.epochs - 1) is None
        groups.open_cache(train.cache)
    threads = _reading_threads(store, columns, train)
    return Feed(groups, order, order.worker_lanes(*share), threads)


def open_validation(
    store: Store,
    dataset: DatasetManifest,
    *,
    columns: Sequence[Column],
    train: TrainSpec,
    share: tuple[int, int],
) -> InOrder:
    """A worker's share of the validation split; kept on this machine if both splits fit.

    Args:
        store: Where the dataset lives.
        dataset: What to read.
        columns: What of a row.
        train: Batch, the cache, and CPUs to read with.
        share: The worker's rank, and how many workers there are.
    """
    rank, world_size = share
    groups = RowGroups(store, dataset, "validation", columns)
    groups.needs_cache = False
    if fits_cache(dataset, "validation", train, beside="train"):
        groups.open_cache(train.cache)
    start, stop = worker_share(dataset.split("validation").rows, rank=rank, world_size=world_size)
    threads = _reading_threads(store, columns, train)
    return InOrder(groups, start, stop, train.global_batch // world_size, threads)


def _reading_threads(store: Store, columns: Sequence[Column], train: TrainSpec) -> int:
    return reading_threads(
        train.cpus_per_worker,
        is_local=store.uri.startswith("file://"),
        decodes=any(column.encoded for column in columns),
    )


def epoch_batches(feed: Feed, epoch: int) -> Iterator[Batch]:
    """The batches of one epoch: views of arrays that nothing else writes to."""
    size = feed.local_batch
    for rows in feed.rows(epoch, 0, stop_epoch=epoch + 1):
        for start in range(0, len(rows[0]), size):
            yield feed.groups.layout.unpack([block[start : start + size] for block in rows])


def record_batch(batch: Batch, columns: Sequence[Column]) -> pa.RecordBatch:
    """A batch as Arrow has it: plain columns, and fixed-shape tensors."""
    arrays = []
    for column in columns:
        values = pa.array(np.ascontiguousarray(batch[column.name]).ravel())
        values = values.cast(scalar_arrow_type(column.dtype))
        if column.shape:
            storage = pa.FixedSizeListArray.from_arrays(values, prod(column.shape))
            values = pa.ExtensionArray.from_storage(column.arrow_type, storage)
        arrays.append(values)
    return pa.record_batch(arrays, names=[column.name for column in columns])


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
