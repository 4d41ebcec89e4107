"""What the benchmarks of the input pipeline share: datasets, bare decoding, pinned processes."""

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shardline.data.batches import epoch_batches, open_feed
from shardline.data.feed import Feed
from shardline.data.manifest import (
    MARKER_NAME,
    Counts,
    DatasetManifest,
    Shard,
    SourceRecord,
    Split,
    load_dataset,
    make_current,
)
from shardline.data.packing import Packed
from shardline.data.reading import column_to_numpy
from shardline.data.schema import Column, Label, Schema
from shardline.data.shards import ShardSize, encode_shard
from shardline.spec.train import CacheSpec, TrainSpec
from shardline.store import Store, commit_marker
from shardline.training.memory import keep_freed_memory, keeping_freed_memory

LABEL = Label(name="label", dtype="int64")
IMAGES = (Column(name="image", dtype="uint8", shape=(28, 28, 1)),)
VECTORS = (Column(name="x", dtype="float32", shape=(50,)),)
NUMBERS = tuple(Column(name=f"x{number}", dtype="float32") for number in range(50))
KINDS: dict[str, tuple[tuple[Column, ...], int]] = {
    "images": (IMAGES, 256),
    "vectors": (VECTORS, 1024),
    "columns": (NUMBERS, 1024),
}
"""Features and global batch."""
PREPARED = ShardSize()


@dataclass(frozen=True)
class Case:
    """A dataset on disk, and the cores to use."""

    folder: str
    kind: str
    cores: int

    @property
    def dataset(self) -> tuple[Store, DatasetManifest]:
        """Where it lies and what it is."""
        store = Store(f"file://{self.folder}")
        return store, load_dataset(store, self.kind)


def write_dataset(folder: Path, kind: str, rows: int, size: ShardSize = PREPARED) -> None:
    """Shards as `prepare` writes them, of random numbers."""
    store = Store(f"file://{folder}")
    features, _ = KINDS[kind]
    columns = (*features, LABEL)
    random = np.random.default_rng(0)
    row_bytes = sum(c.numpy_dtype.itemsize * int(np.prod(c.shape)) for c in columns)
    shards = []
    per_shard = size.rows_per_shard(row_bytes)
    for number, start in enumerate(range(0, rows, per_shard)):
        count = min(per_shard, rows - start)
        table = pa.table({column.name: random_column(random, column, count) for column in columns})
        encoded = encode_shard(
            table,
            key=f"train/part-{number:05d}.parquet",
            rows_per_group=size.rows_per_group(row_bytes),
        )
        store.write(f"datasets/{kind}/v1/{encoded.shard.key}", encoded.data)
        shards.append(encoded.shard)
    commit_dataset(store, kind, features, shards)


def commit_dataset(
    store: Store, name: str, features: tuple[Column, ...], shards: Sequence[Shard]
) -> None:
    """A dataset of shards that lie in its folder `v1`, made the current one."""
    rows = sum(shard.rows for shard in shards)
    manifest = DatasetManifest(
        name=name,
        version="v1",
        created_unix_s=0.0,
        columns=Schema(features=features, label=LABEL),
        splits={"train": Split(rows=rows, shards=tuple(shards))},
        split_rule=None,
        statistics={},
        source=SourceRecord(format="parquet", path="file:///", num_files=1, fingerprint=""),
        counts=Counts(rows_read=rows, rows_kept=rows, rows_quarantined=0),
    )
    commit_marker(store, f"{manifest.folder}/{MARKER_NAME}", manifest)
    make_current(store, name, "v1")


def random_column(random: np.random.Generator, column: Column, rows: int) -> pa.Array:
    if column.dtype == "uint8":
        values = random.integers(0, 256, (rows, *column.shape)).astype(np.uint8)
        return pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    if column.dtype == "int64":
        return pa.array(random.integers(0, 10, rows))
    values = random.normal(size=(rows, *column.shape)).astype(column.dtype)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(values) if column.shape else pa.array(values)


def bare_decode(case: Case) -> float:
    """Rows per second of pyarrow alone: every row group once, columns as numpy arrays."""
    store, dataset = case.dataset
    columns = (*dataset.columns.features, dataset.columns.label)
    _, root = store.filesystem()
    parts = [
        (f"{root}/{dataset.folder}/{shard.key}", part)
        for shard in dataset.split("train").shards
        for part in np.array_split(np.arange(len(shard.row_groups)), case.cores)
    ]

    def decode(part: tuple[str, np.ndarray]) -> int:
        file, rows = pq.ParquetFile(part[0]), 0
        for group in part[1].tolist():
            table = file.read_row_group(group, use_threads=False)
            for column in columns:
                column_to_numpy(table.column(column.name), column)
            rows += table.num_rows
        return rows

    began_s = time.perf_counter()
    with ThreadPoolExecutor(case.cores) as pool:
        rows = sum(pool.map(decode, parts))
    return rows / (time.perf_counter() - began_s)


def feed_of(case: Case, cache: Path) -> Feed:
    """A single worker's feed."""
    store, dataset = case.dataset
    folder = CacheSpec(dir=f"file://{cache}")
    train = TrainSpec(
        global_batch=KINDS[case.kind][1], cache=folder, cpus_per_worker=case.cores, epochs=2
    )
    columns = (*dataset.columns.features, dataset.columns.label)
    return open_feed(store, dataset, "train", columns=columns, train=train)


def into_numpy(feed: Feed, epoch: int) -> float:
    """Rows per second of an epoch as dictionaries of numpy arrays."""
    began_s = time.perf_counter()
    rows = sum(len(batch["label"]) for batch in epoch_batches(feed, epoch))
    return rows / (time.perf_counter() - began_s)


def into_tensors(feed: Feed, epoch: int) -> float:
    """Rows per second of an epoch as tensors, taken inside TensorFlow as Keras does.

    The clock starts when TensorFlow asks for the first rows, after it has traced its functions.
    """
    from taking import taking

    from shardline.training.stream import blocks_ahead, packed_batches

    began_s = []

    def rows() -> Iterator[Packed]:
        began_s.append(time.perf_counter())
        yield from feed.rows(epoch, 0, stop_epoch=epoch + 1, by_column=True)

    kept = keeping_freed_memory(rows)
    ahead = blocks_ahead(feed.steps_at_once)
    stream = packed_batches(kept, feed.groups.layout, feed.local_batch, ahead=ahead)
    found = taking(stream)()
    return found / (time.perf_counter() - began_s[0])


def fresh_cache(case: Case) -> Path:
    """An empty folder beside the dataset."""
    return Path(tempfile.mkdtemp(prefix="cache-", dir=case.folder))


def first_epoch(case: Case, into: str) -> float:
    """Rows per second of a first epoch: nothing is kept yet."""
    cache = fresh_cache(case)
    feed = feed_of(case, cache)
    try:
        return MEASURES[into](feed, 0)
    finally:
        shutil.rmtree(cache)


_filled: dict[Case, tuple[Feed, int]] = {}


def later_epoch(case: Case, into: str) -> float:
    """Rows per second of the next epoch in full random order, from the machine's cache."""
    if case not in _filled:
        feed = feed_of(case, fresh_cache(case))
        into_numpy(feed, 0)
        into_numpy(feed, 1)  # reads what the first one left out
        _filled[case] = feed, 2
    feed, epoch = _filled[case]
    _filled[case] = feed, epoch + 1
    return MEASURES[into](feed, epoch)


MEASURES: dict[str, Callable[[Feed, int], float]] = {"numpy": into_numpy, "tensors": into_tensors}


class Pinned:
    """A process on some cores, in which cases run one after the other."""

    def __init__(self, cores: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context)
        self._pool.submit(pin, cores).result()

    def run(self, function: Callable[..., float], *arguments: Any) -> float:
        """What the function returns there."""
        return self._pool.submit(function, *arguments).result()

    def close(self) -> None:
        """End it."""
        self._pool.shutdown()


def pin(cores: int) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    keep_freed_memory()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    pa.set_cpu_count(cores)

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
