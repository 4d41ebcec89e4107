"""Typed rows to Parquet shards: bounded files and row groups, the same bytes for the same rows."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shardline.data.column_names import PLACE_COLUMN
from shardline.data.dealing import Run
from shardline.data.elements import is_text
from shardline.data.encoded_images import is_image
from shardline.data.manifest import Shard
from shardline.data.schema import Schema
from shardline.data.scratch import Scratch
from shardline.data.statistics.table import TableSketch
from shardline.spec.data import SPLITS, SplitName
from shardline.store import Store

MAX_GROUP_ROWS = 4096
MAX_GROUP_BYTES = 4 << 20


@dataclass(frozen=True)
class ShardSize:
    """How much goes into one file, measured in Arrow bytes before compression."""

    target_bytes: int = 64 << 20
    group_bytes: int = MAX_GROUP_BYTES
    group_rows: int = MAX_GROUP_ROWS

    def rows_per_shard(self, row_bytes: float) -> int:
        """Most rows of one shard."""
        return max(1, int(self.target_bytes / row_bytes))

    def rows_per_group(self, row_bytes: float) -> int:
        """Most rows of one row group."""
        return max(1, min(self.group_rows, int(self.group_bytes / row_bytes)))


@dataclass(frozen=True)
class EncodedShard:
    """A shard ready to be stored."""

    shard: Shard
    data: memoryview


@dataclass(frozen=True)
class ShardPlan:
    """Which parked rows make one shard."""

    key: str
    """Relative to the dataset's folder."""
    batches: tuple[tuple[str, int, int], ...]
    """Runs, with the first of their batches and the end."""
    skip: int
    """Rows of the batches, ordered by place, that belong to the shard before."""
    first_row: int
    """Number of its first row in its split."""
    num_rows: int
    split_rows: int
    """Rows of the whole split."""


@dataclass(frozen=True)
class ShardWriting:
    """What every shard of a dataset has in common. Instances can be pickled."""

    schema: Schema
    """The columns, with the label's vocabulary."""
    scratch: Scratch
    store: Store
    folder: str
    """Key prefix of the dataset version."""
    rows_per_group: int
    basic_statistics: bool = False
    """Whether what models need is all that is found out about the rows."""


@dataclass(frozen=True)
class WrittenShard:
    """One stored shard."""

    shard: Shard
    sketch: TableSketch
    """Of all columns for a shard of the train split, else of the label."""


def plan_shards(runs: Sequence[Run], split: SplitName, *, rows_per_shard: int) -> list[ShardPlan]:
    """Shards of equal length, in the order of the rows' places.

    Args:
        runs: All of them, with equally many places.
        split: Whose rows.
        rows_per_shard: Most rows of one shard.
    """
    side = SPLITS.index(split)
    totals = np.zeros(1 << runs[0].place_bits, np.int64)
    for run in runs:
        totals += run.counts(side)
    ends = np.cumsum(totals)
    num_rows = int(ends[-1])
    num_shards = -(-num_rows // rows_per_shard)
    bounds = (
        [
            k * (num_rows // num_shards) + min(k, num_rows % num_shards)
            for k in range(num_shards + 1)
        ]
        if num_shards
        else []
    )
    plans = []
    for number, (start, stop) in enumerate(pairwise(bounds)):
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(ends, stop, side="left"))
        plans.append(
            ShardPlan(
                key=f"{split}/part-{number:05d}.parquet",
                batches=tuple(_batches(runs, side, first, last + 1)),
                skip=start - int(ends[first] - totals[first]),
                first_row=start,
                num_rows=stop - start,
                split_rows=num_rows,
            )
        )
    return plans


def write_shard(writing: ShardWriting, plan: ShardPlan) -> WrittenShard:
    """Gather, order, encode and store one shard; only a marker that names it makes it count."""
    parked = [
        table
        for name, first, stop in plan.batches
        for table in writing.scratch.read(name, range(first, stop))
    ]
    table = pa.concat_tables(parked).combine_chunks()
    del parked
    order = np.argsort(table[PLACE_COLUMN].to_numpy(), kind="stable")
    chosen = order[plan.skip : plan.skip + plan.num_rows]
    table = table.drop_columns([PLACE_COLUMN]).take(pa.array(chosen))
    table = with_label_indices(table, writing.schema)
    sketch = _empty_sketch(writing, plan)
    sketch.add(table, first_row=plan.first_row)
    encoded = encode_shard(table, key=plan.key, rows_per_group=writing.rows_per_group)
    shard = encoded.shard
    writing.store.write(f"{writing.folder}/{plan.key}", encoded.data, sha256=shard.sha256)
    return WrittenShard(shard, sketch)


def encode_shard(table: pa.Table, *, key: str, rows_per_group: int) -> EncodedShard:
    """Parquet bytes of a shard and its record for the manifest.

    Args:
        table: All its rows, in order.
        key: Where it will lie, relative to the dataset's folder.
        rows_per_group: Rows of every row group but the last.
    """
    sink = pa.BufferOutputStream()
    # Checksums let readers tell a flipped bit from a value. Pages of version 2 say how many nulls
    # they have and keep levels apart, which Arrow reads 1.6 x as fast, and tensors lie in them as
    # in memory (`page_values` reads them so). Parquet has no integers of 8 or 16 bits: with their
    # bytes split into streams, the upper ones, all zeros, take no space. Dictionaries of numbers
    # cost twice the time to write; zstd finds repetitions by itself.
    pq.write_table(
        table,
        sink,
        row_group_size=rows_per_group,
        compression=_compression(table.schema),
        use_dictionary=_paths(table.schema, is_text) or False,
        use_byte_stream_split=_paths(table.schema, _is_narrow) or False,
        data_page_version="2.0",
        write_statistics=False,
        write_page_checksum=True,
    )
    data = memoryview(sink.getvalue())
    starts = range(0, table.num_rows, rows_per_group)
    shard = Shard(
        key=key,
        rows=table.num_rows,
        row_groups=tuple(min(rows_per_group, table.num_rows - start) for start in starts),
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        table_bytes=sum(column.nbytes for column in table.columns if not is_image(column.type)),
    )
    return EncodedShard(shard, data)


def with_label_indices(table: pa.Table, schema: Schema) -> pa.Table:
    """The table with label texts replaced by their place in the vocabulary, if there is one."""
    label = schema.label
    if label.vocabulary is None:
        return table
    place = table.schema.get_field_index(label.name)
    indices = pc.index_in(table[label.name], value_set=pa.array(label.vocabulary, pa.string()))
    numbers = indices.cast(label.arrow_type)
    return table.set_column(place, pa.field(label.name, label.arrow_type, nullable=False), numbers)


def _empty_sketch(writing: ShardWriting, plan: ShardPlan) -> TableSketch:
    label, of_train = writing.schema.label, plan.key.startswith("train/")
    columns = (*writing.schema.features, label) if of_train else (label,)
    fields = [(column.name, column.stored_type) for column in columns]
    return TableSketch(
        pa.schema(fields), expected_rows=plan.split_rows, basic=writing.basic_statistics
    )


def _batches(
    runs: Sequence[Run], side: int, first: int, stop: int
) -> Iterator[tuple[str, int, int]]:
    """Per run, the batches of some of a side's places."""
    for run in runs:
        begin, end = run.batches(side, range(first, stop))
        if begin < end:
            yield run.name, begin, end


def _compression(schema: pa.Schema) -> str | dict[str, str]:
    """By Parquet path; image files are packed already."""
    if not any(is_image(field.type) for field in schema):
        return "zstd"
    return {_path(field): "none" if is_image(field.type) else "zstd" for field in schema}


def _paths(schema: pa.Schema, is_wanted: Callable[[Any], bool]) -> list[str]:
    """Parquet paths of the columns whose elements are of some types."""
    return [
        _path(field) for field in schema if is_wanted(getattr(field.type, "value_type", field.type))
    ]


def _path(field: Any) -> str:
    """What Parquet calls a column: that of a tensor's elements has a longer name."""
    return f"{field.name}.list.element" if hasattr(field.type, "value_type") else str(field.name)


def _is_narrow(element: Any) -> bool:
    return bool(pa.types.is_integer(element) and element.bit_width < 32)
