"""Typed rows to Parquet shards: bounded files and row groups, the same bytes for the same rows."""

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shardline.data.manifest import ColumnStatistics, Shard, Split
from shardline.data.schema import Schema
from shardline.data.split import deal
from shardline.data.spool import Spool
from shardline.data.statistics.summary import column_statistics
from shardline.data.statistics.table import TableSketch
from shardline.data.typed import TypedRows
from shardline.spec.data import SplitName
from shardline.store import Store

MAX_GROUP_ROWS = 4096
MAX_GROUP_BYTES = 4 << 20

Places = np.ndarray[Any, np.dtype[np.int64]]


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
class WrittenSplits:
    """All shards of a dataset."""

    splits: dict[SplitName, Split]
    statistics: dict[str, ColumnStatistics]
    """Of the train split, by feature."""


@dataclass(frozen=True)
class EncodedShard:
    """A shard ready to be stored."""

    shard: Shard
    data: bytes


def write_splits(
    rows: TypedRows, schema: Schema, *, store: Store, folder: str, size: ShardSize
) -> WrittenSplits:
    """Write every shard below `folder`; only a marker that names them makes them count.

    Args:
        rows: What to write.
        schema: The columns, with the label's vocabulary.
        store: Where to.
        folder: Key prefix of the dataset version.
        size: Bounds of shards and row groups.
    """
    row_bytes = max(1.0, rows.num_bytes / rows.num_kept)
    group = size.rows_per_group(row_bytes)
    sketch = TableSketch(pa.schema([(c.name, c.arrow_type) for c in schema.features]))
    splits: dict[SplitName, Split] = {}
    for name in rows.declared:
        members = rows.of(name)
        dealt = deal(rows.places[members], rows_per_shard=size.rows_per_shard(row_bytes))
        shards = []
        for number, order in enumerate(dealt):
            chosen = members[order]
            table = gather(rows.spool, rows.tables[chosen], rows.positions[chosen])
            if name == "train":
                sketch.add(table, first_row=sketch.num_rows)
            table = with_label_indices(table, schema)
            encoded = encode_shard(
                table, key=f"{name}/part-{number:05d}.parquet", rows_per_group=group
            )
            store.write(f"{folder}/{encoded.shard.key}", encoded.data)
            shards.append(encoded.shard)
        splits[name] = Split(rows=len(members), shards=tuple(shards))
    return WrittenSplits(splits, column_statistics(sketch))


def encode_shard(table: pa.Table, *, key: str, rows_per_group: int) -> EncodedShard:
    """Parquet bytes of a shard and its record for the manifest.

    Args:
        table: All its rows, in order.
        key: Where it will lie, relative to the dataset's folder.
        rows_per_group: Rows of every row group but the last.
    """
    sink = io.BytesIO()
    # Checksums let readers tell a flipped bit from a value. Dictionaries keep bytes at a byte each:
    # Parquet has no 8-bit integers, plain uint8 tensors would take four times the space.
    pq.write_table(
        table,
        sink,
        row_group_size=rows_per_group,
        compression="zstd",
        use_dictionary=True,
        write_page_checksum=True,
    )
    data = sink.getvalue()
    starts = range(0, table.num_rows, rows_per_group)
    shard = Shard(
        key=key,
        rows=table.num_rows,
        row_groups=tuple(min(rows_per_group, table.num_rows - start) for start in starts),
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        table_bytes=table.nbytes,
    )
    return EncodedShard(shard, data)


def gather(spool: Spool, tables: Places, rows: Places) -> pa.Table:
    """Rows picked from a spool, in the order given.

    Args:
        spool: Tables of one schema.
        tables: For each row wanted, the number of its table.
        rows: For each row wanted, its position in that table.
    """
    order = np.argsort(tables, kind="stable")
    numbers, starts = np.unique(tables[order], return_index=True)
    pieces = [
        spool.table(int(number)).take(pa.array(rows[places]))
        for number, places in zip(numbers, np.split(order, starts[1:]), strict=True)
    ]
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_tables(pieces).combine_chunks().take(pa.array(back))


def with_label_indices(table: pa.Table, schema: Schema) -> pa.Table:
    """The table with label texts replaced by their place in the vocabulary, if there is one."""
    label = schema.label
    if label.vocabulary is None:
        return table
    place = table.schema.get_field_index(label.name)
    indices = pc.index_in(table[label.name], value_set=pa.array(label.vocabulary, pa.string()))
    numbers = indices.cast(label.arrow_type)
    return table.set_column(place, pa.field(label.name, label.arrow_type, nullable=False), numbers)
