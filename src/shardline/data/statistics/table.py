"""The sketch of a table: one of each column and a sample of whole rows."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.statistics.columns import SERIES, ColumnSketch, series_of
from shardline.data.statistics.row_sample import (
    Columns,
    RowSample,
    capacity_for,
    limit_for,
    row_hashes,
)
from shardline.data.statistics.values import filled

# One column of so many rows is in work at a time.
PIECE_ROWS = 65_536
STATE = b"shardline.columns"
SCHEMA = b"shardline.schema"
SAMPLE = b"shardline.sample"


class TableSketch:
    """All that statistics need to know of some rows; merged, it is that of all their rows.

    Args:
        schema: The columns to watch.
        capacity: Most rows of the sample; by default what 16 MiB hold, at most 65,536.
        expected_rows: Rows of all sketches that this one will be merged with; known, they make the
            sample cheap. If there are fewer in the end, the sample is smaller.
        basic: Only find out what `column_statistics` says: no sample, no counts of numbers.

    Raises:
        TypeError: A column's type has no statistics.
    """

    def __init__(
        self,
        schema: pa.Schema,
        *,
        capacity: int | None = None,
        expected_rows: int = 0,
        basic: bool = False,
    ) -> None:
        self.schema = schema
        self.columns = {
            field.name: ColumnSketch(field.type, counts_values=not basic) for field in schema
        }
        self._basic = basic
        width = sum(len(SERIES[column.kind]) for column in self.columns.values())
        capacity = capacity or capacity_for(width)
        self.sample = RowSample(capacity, limit_for(capacity, expected_rows))
        self.num_rows = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """The library's sketches cannot be sent to another process, their bytes can."""
        return TableSketch.load, (self.dump(),)

    def add(self, table: pa.Table, *, first_row: int) -> None:
        """Add some rows; nulls, NaN and infinities are counted apart.

        Args:
            table: Holds the watched columns, and may hold others.
            first_row: Number of its first row. No two rows of all that will be merged may have one
                number; which rows are sampled depends on these numbers alone.
        """
        for start in range(0, table.num_rows, PIECE_ROWS):
            self._add_piece(table.slice(start, PIECE_ROWS), first_row + start)

    def merge(self, other: "TableSketch") -> None:
        """Add all that another sketch of the same schema has seen."""
        self.num_rows += other.num_rows
        for name, column in self.columns.items():
            column.merge(other.columns[name])
        self.sample.merge(other.sample)

    def series(self, name: str) -> Columns:
        """The sampled values of a column, see `SERIES`, ordered by the rows' hashes."""
        _, columns = self.sample.contents()
        names = SERIES[self.columns[name].kind]
        empty = np.empty(0, np.float64)
        return {series: columns.get(f"{name}/{series}", empty) for series in names}

    def dump(self) -> bytes:
        """Bytes for `load`, the same for the same rows added and merged in the same order."""
        hashes, columns = self.sample.contents()
        table = pa.table({"": hashes, **columns})
        state = {name: column.dump() for name, column in self.columns.items()}
        table = table.replace_schema_metadata(
            {
                STATE: json.dumps({"num_rows": self.num_rows, "columns": state}),
                SCHEMA: self.schema.serialize().to_pybytes(),
                SAMPLE: json.dumps([self.sample.capacity, int(self.sample.limit)]),
            }
        )
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    @classmethod
    def load(cls, data: bytes) -> "TableSketch":
        """What `dump` wrote."""
        table = pa.ipc.open_stream(data).read_all()
        metadata = table.schema.metadata
        schema = pa.ipc.read_schema(pa.py_buffer(metadata[SCHEMA]))
        loaded = cls(schema)
        loaded.sample = RowSample(*json.loads(metadata[SAMPLE]))
        state = json.loads(metadata[STATE])
        loaded.num_rows = state["num_rows"]
        for name, column in state["columns"].items():
            loaded.columns[name] = ColumnSketch.load(schema.field(name).type, column)
        columns = {name: table[name].to_numpy() for name in table.column_names}
        loaded.sample.add(columns.pop(""), columns)
        return loaded

    def _add_piece(self, table: pa.Table, first_row: int) -> None:
        self.num_rows += table.num_rows
        if self._basic:
            for name, column in self.columns.items():
                column.add(filled(table[name]))
            return
        hashes = row_hashes(first_row, table.num_rows)
        rows = self.sample.wanted(hashes)
        all_wanted = len(rows) == table.num_rows
        sampled: Columns = {}
        for name, column in self.columns.items():
            values = table[name]
            column.add(filled(values))
            if len(rows):
                chosen = values if all_wanted else values.take(pa.array(rows))
                found = series_of(column.kind, filled(chosen), hashes[rows])
                sampled |= {f"{name}/{series}": numbers for series, numbers in found.items()}
        self.sample.add(hashes[rows], sampled)
