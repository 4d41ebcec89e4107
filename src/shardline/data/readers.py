"""Raw files to Arrow tables: one reader per format, each row with its place of origin."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from shardline.data.casting import cast_elements
from shardline.data.images import PATH_COLUMN, read_images
from shardline.data.json_lines import read_json_lines
from shardline.data.quarantine import Rejected
from shardline.data.rows import (
    Batch,
    RawBatch,
    Role,
    RowLayout,
    cast_rows,
    require_columns,
    with_origin,
)
from shardline.data.schema import Schema
from shardline.data.sources import SourceFile, SourceFiles
from shardline.errors import DataError
from shardline.spec.data import CsvSource, Source

BLOCK_BYTES = 4 << 20
BATCH_BYTES = 16 << 20
PARQUET_BATCH_ROWS = 16_384

Rows = np.ndarray[Any, np.dtype[np.int64]]
NO_ROWS: Rows = np.empty(0, dtype=np.int64)


def read_rows(
    files: SourceFiles, source: Source, schema: Schema, *, keep: Iterable[str] = ()
) -> Iterator[Batch]:
    """Raw files against a fixed schema, for scoring; the label may be absent and is not read.

    Args:
        files: What `list_source` found, or a part of it.
        source: The format and how to read it; its path is not looked at.
        schema: The model's.
        keep: Columns carried along as text; for images `path` is always there.

    Yields:
        Batches whose tables have the features, then the kept columns that are no features.

    Raises:
        DataError: A file lacks a column, cannot be read, or holds types that never fit.
    """
    paths = (PATH_COLUMN,) if source.format == "images" else ()
    features = {column.name for column in schema.features}
    carried = tuple(name for name in dict.fromkeys((*keep, *paths)) if name not in features)
    layout = RowLayout(features=schema.features, carried=carried)
    required = [(column.name, role) for column, role in layout.roles]
    if source.format == "images":
        raw = read_images(files, schema.features[0], label=None)
    else:
        raw = read_tables(files, source, required)
    for batch in raw:
        cast = cast_rows(batch.table, layout)
        yield Batch(cast.table, batch.rejected + cast.rejected)


def read_tables(
    files: SourceFiles,
    source: Source,
    required: Iterable[tuple[str, Role]],
    *,
    everything: bool = False,
) -> Iterator[RawBatch]:
    """Rows of CSV, Parquet or JSON lines, file by file, at least one batch for each header.

    Args:
        files: The source.
        source: Its format.
        required: Columns that CSV and Parquet files must have; JSON lines may leave fields out.
        everything: Read every other column too.

    Raises:
        DataError: A file cannot be read or lacks a required column.
    """
    needed = list(required)
    names = None if everything else [name for name, _ in needed]
    for file in files.files:
        if source.format == "json":
            yield from read_json_lines(files, file, names)
            continue
        if isinstance(source, CsvSource):
            batches = _read_csv(files, file, source.delimiter, names)
        else:
            batches = _read_parquet(files, file, names)
        for batch in batches:
            require_columns(batch.available, needed, file.name)
            yield batch


def _read_csv(
    files: SourceFiles, file: SourceFile, delimiter: str, names: list[str] | None
) -> Iterator[RawBatch]:
    if file.size == 0:
        return
    invalid: list[Any] = []

    def set_aside(row: Any) -> str:
        invalid.append(row)
        return "skip"

    # Arrow numbers the rows it skips only when it parses with one thread.
    read = pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    parse = pa.csv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True, invalid_row_handler=set_aside
    )
    with files.opened(file) as stream:
        available = tuple(pa.csv.open_csv(stream, read, parse).schema.names)
    _refuse_twins(file, available)
    invalid.clear()
    chosen = [name for name in available if names is None or name in names]
    # Bytes first: one cell that is no UTF-8 must cost its row, not the file.
    convert = pa.csv.ConvertOptions(
        include_columns=chosen,
        column_types={name: pa.binary() for name in chosen},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with files.opened(file) as stream:
        reader = pa.csv.open_csv(stream, read, parse, convert)
        yield _header(file, available)
        last = 0
        for batch in reader:
            rows = _next_numbers(last, batch.num_rows, [row.number - 1 for row in invalid])
            last = int(rows[-1]) if len(rows) else last
            yield _text_batch(pa.table(batch), available, file, rows)
    rejected = tuple(
        Rejected(
            f"has {row.actual_columns} cells, expected {row.expected_columns}",
            file.name,
            row.number - 1,
        )
        for row in invalid
    )
    yield replace(_header(file, available), rejected=rejected)


def _header(file: SourceFile, available: tuple[str, ...]) -> RawBatch:
    """A batch of no rows that says what the file could give."""
    return RawBatch(with_origin({}, file.name, NO_ROWS), available)


def _next_numbers(last: int, count: int, skipped: list[int]) -> Rows:
    """Numbers of the next `count` records after `last`, without those that were skipped."""
    ahead = [number for number in skipped if number > last]
    numbers = np.arange(last + 1, last + 1 + count + len(ahead))
    return numbers[~np.isin(numbers, ahead)][:count]


def _text_batch(
    table: pa.Table, available: tuple[str, ...], file: SourceFile, rows: Rows
) -> RawBatch:
    """Cells as text; rows with bytes that are none are rejected."""
    cells = {name: table[name].combine_chunks() for name in table.column_names}
    texts = {name: cast_elements(values, "string") for name, values in cells.items()}
    garbled: dict[int, str] = {}
    for name, values in texts.items():
        lost = pc.and_(pc.is_null(values), pc.is_valid(cells[name]))
        for place in np.flatnonzero(lost.to_numpy(zero_copy_only=False)):
            garbled.setdefault(int(place), f"column {name!r} is not valid UTF-8")
    sound = np.ones(len(rows), dtype=bool)
    sound[list(garbled)] = False
    rejected = tuple(Rejected(garbled[i], file.name, int(rows[i])) for i in sorted(garbled))
    kept = {name: values.filter(pa.array(sound)) for name, values in texts.items()}
    return RawBatch(with_origin(kept, file.name, rows[sound]), available, rejected)


def _read_parquet(
    files: SourceFiles, file: SourceFile, names: list[str] | None
) -> Iterator[RawBatch]:
    with files.opened(file, seekable=True) as stream:
        parquet = pq.ParquetFile(stream)
        metadata = parquet.metadata
        available = tuple(parquet.schema_arrow.names)
        _refuse_twins(file, available)
        chosen = [name for name in available if names is None or name in names]
        yield _header(file, available)
        groups = range(metadata.num_row_groups)
        size = sum(metadata.row_group(i).total_byte_size for i in groups)
        row_bytes = max(1, size // max(1, metadata.num_rows))
        step = max(1, min(PARQUET_BATCH_ROWS, BATCH_BYTES // row_bytes))
        first = 1
        for batch in parquet.iter_batches(batch_size=step, columns=chosen):
            rows = np.arange(first, first + batch.num_rows)
            first += batch.num_rows
            table = with_origin(_columns(pa.table(batch)), file.name, rows)
            yield RawBatch(table, available)


def _columns(table: pa.Table) -> dict[str, Any]:
    return {name: table[name] for name in table.column_names}


def _refuse_twins(file: SourceFile, names: tuple[str, ...]) -> None:
    twins = [name for name, count in Counter(names).items() if count > 1]
    if twins:
        raise DataError(f"{file.name} has several columns {twins[0]!r}; rename all but one.")
