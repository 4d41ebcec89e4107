"""Parquet and Arrow IPC files to batches of bounded size, page checksums verified."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shardline.data.column_names import check_names
from shardline.data.elements import plain
from shardline.data.rows import RawBatch, with_origin
from shardline.data.sources import SourceFile, SourceFiles

BATCH_BYTES = 16 << 20
PARQUET_BATCH_ROWS = 16_384
ARROW_FILE_MAGIC = b"ARROW1"


@dataclass(frozen=True, slots=True)
class GroupRange:
    """Row groups `start` to `stop` of a Parquet file."""

    start: int
    stop: int


def read_parquet(
    files: SourceFiles,
    file: SourceFile,
    names: Sequence[str] | None,
    part: GroupRange | None = None,
) -> Iterator[RawBatch]:
    """Rows of one Parquet file; first a batch that has none.

    Args:
        files: The source.
        file: One of its files.
        names: Columns to keep; None keeps all.
        part: Row groups to read; rows are numbered from 1 there, too.

    Raises:
        DataError: The file cannot be read, or the names of its columns are refused.
    """
    with files.opened(file, seekable=True) as stream:
        parquet = opened_parquet(stream)
        metadata = parquet.metadata
        available = tuple(parquet.schema_arrow.names)
        chosen = _chosen(file, available, names)
        yield _header(file, available)
        groups = range(part.start, part.stop) if part else range(metadata.num_row_groups)
        batches = sound_batches(parquet, groups, chosen, most=PARQUET_BATCH_ROWS)
        yield from _numbered(batches, available, file)


def opened_parquet(stream: Any) -> Any:
    """A reader that verifies the checksums of pages."""
    return pq.ParquetFile(stream, page_checksum_verification=True)


def sound_batches(
    parquet: Any, groups: Sequence[int], names: Sequence[str], *, most: int
) -> Iterator[Any]:
    """Row groups as record batches of `most` rows and about `BATCH_BYTES` at most.

    Raises:
        pa.ArrowInvalid: A value is not what its type says, such as text that is no UTF-8.
    """
    found = [parquet.metadata.row_group(group) for group in groups]
    num_rows = sum(each.num_rows for each in found)
    row_bytes = max(1, sum(each.total_byte_size for each in found) // max(1, num_rows))
    step = max(1, min(most, BATCH_BYTES // row_bytes))
    for batch in parquet.iter_batches(batch_size=step, row_groups=list(groups), columns=names):
        batch.validate(full=True)  # before anything is made of them
        yield batch


def read_arrow(
    files: SourceFiles, file: SourceFile, names: Sequence[str] | None
) -> Iterator[RawBatch]:
    """Rows of one Arrow IPC file, of the file or the stream format; first a batch that has none.

    Raises:
        DataError: The file cannot be read, or the names of its columns are refused.
    """
    with files.opened(file, seekable=True) as stream:
        is_file = stream.read(len(ARROW_FILE_MAGIC)) == ARROW_FILE_MAGIC
        stream.seek(0)
        reader = pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)
        available = tuple(reader.schema.names)
        chosen = _chosen(file, available, names)
        yield _header(file, available)
        whole = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        yield from _numbered((b for batch in whole for b in _sound(batch, chosen)), available, file)


def row_group_parts(
    files: SourceFiles, file: SourceFile, *, part_bytes: int
) -> list[GroupRange] | None:
    """Runs of row groups of about `part_bytes` each; None if the file is no more than one.

    Raises:
        DataError: The file is no Parquet.
    """
    with files.opened(file, seekable=True) as stream:
        metadata = pq.ParquetFile(stream).metadata
        sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    parts, start, held = [], 0, 0
    for index, size in enumerate(sizes):
        if index > start and held + size > part_bytes:
            parts.append(GroupRange(start, index))
            start, held = index, 0
        held += size
    return [*parts, GroupRange(start, len(sizes))] if parts else None


def _sound(batch: Any, chosen: list[str]) -> Iterator[Any]:
    """A batch in pieces of bounded size; damaged offsets are found before they are followed."""
    batch = batch.select(chosen)
    batch.validate(full=True)
    step = max(1, int(batch.num_rows * BATCH_BYTES / max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _numbered(
    batches: Iterator[Any], available: tuple[str, ...], file: SourceFile
) -> Iterator[RawBatch]:
    first = 1
    for batch in batches:
        rows = np.arange(first, first + batch.num_rows)
        first += batch.num_rows
        columns = dict(zip(batch.schema.names, map(plain, batch.columns), strict=True))
        yield RawBatch(with_origin(columns, file.name, rows), available)


def _header(file: SourceFile, available: tuple[str, ...]) -> RawBatch:
    return RawBatch(with_origin({}, file.name, np.empty(0, np.int64)), available)


def _chosen(file: SourceFile, available: tuple[str, ...], names: Sequence[str] | None) -> list[str]:
    check_names(file.name, available)
    return [name for name in available if names is None or name in names]
