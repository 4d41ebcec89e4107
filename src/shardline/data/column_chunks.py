"""Bytes of some columns of a row group, fetched from a shard in few requests."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shardline.data.open_shards import OpenShard
from shardline.data.page_headers import PageError
from shardline.data.schema import Column

# What lies between two columns is read with them, if it is less than a request is worth.
MAX_GAP_BYTES = 64 << 10

Span = tuple[int, int]


@dataclass(frozen=True)
class ColumnChunks:
    """Columns of a row group as they lie in the file."""

    _chunks: dict[str, "tuple[Span, pa.Codec | None]"]
    _starts: list[int]
    """Where each run of bytes begins in the file."""
    _runs: list[memoryview]

    @classmethod
    def read(cls, opened: OpenShard, group: int, columns: Sequence[Column]) -> "ColumnChunks":
        """Fetch them, those that lie side by side at once.

        Raises:
            PageError: A column is not of its type, is written with a dictionary, or is compressed
                in a way that shards are not.
            OSError: The store did not answer.
        """
        found = opened.metadata.row_group(group)
        chunks = {}
        for column in columns:
            place = opened.schema.get_field_index(column.name)
            # Every type of a shard is one column of Parquet.
            if place < 0 or found.num_columns != len(opened.schema):
                raise PageError(f"no column {column.name!r}")
            if opened.schema.field(place).type != column.stored_type:
                raise PageError(f"{column.name!r} is {opened.schema.field(place).type}")
            chunks[column.name] = _place_and_codec(found.column(place))
        spans = joined(sorted(span for span, _ in chunks.values()), gap=MAX_GAP_BYTES)
        runs = [_bytes_of(opened.file, span) for span in spans]
        return cls(chunks, [start for start, _ in spans], runs)

    def of_column(self, name: str) -> "tuple[memoryview, pa.Codec | None]":
        """The bytes of one of them, and what its pages are compressed by."""
        (start, stop), codec = self._chunks[name]
        run = bisect_right(self._starts, start) - 1
        first = self._starts[run]
        return self._runs[run][start - first : stop - first], codec


def _bytes_of(file: Any, span: Span) -> memoryview:
    start, stop = span
    data = file.get_stream(start, stop - start).read_buffer(stop - start)
    return memoryview(data).cast("B")  # Arrow says that bytes are signed


def joined(spans: Sequence[Span], *, gap: int) -> list[Span]:
    """Ordered spans, those in one that have at most `gap` bytes between them."""
    found: list[Span] = []
    for start, stop in spans:
        if found and start - found[-1][1] <= gap:
            found[-1] = found[-1][0], max(stop, found[-1][1])
        else:
            found.append((start, stop))
    return found


def _place_and_codec(metadata: Any) -> "tuple[Span, pa.Codec | None]":
    if metadata.has_dictionary_page:
        raise PageError(f"a dictionary of {metadata.path_in_schema}")
    if metadata.compression not in ("ZSTD", "UNCOMPRESSED"):
        raise PageError(f"{metadata.path_in_schema} compressed by {metadata.compression}")
    codec = pa.Codec("zstd") if metadata.compression == "ZSTD" else None
    start = metadata.data_page_offset
    return (start, start + metadata.total_compressed_size), codec
