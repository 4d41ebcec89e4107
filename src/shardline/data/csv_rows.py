"""Delimited text to Arrow: cells as text, records that are none named by their number."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from shardline.data.column_names import check_names
from shardline.data.csv_blocks import EMPTY, BlockParser, Lines, conversion
from shardline.data.quarantine import Rejected
from shardline.data.rows import RawBatch, with_origin
from shardline.data.sources import SourceFile, SourceFiles
from shardline.data.utf8 import MARK, Utf8Stream
from shardline.errors import DataError

BLOCK_BYTES = 4 << 20
HEAD_BYTES = 256 << 10
# A noncharacter, as the mark of bytes that are no UTF-8.
SENTINEL = "\ufdd1"

Rows = np.ndarray[Any, np.dtype[np.int64]]
NO_ROWS: Rows = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The lines of a file that begin in `[start, stop)`; only for files without quotes."""

    start: int
    stop: int


def delimiter_of(file: SourceFile, declared: str | None) -> str:
    """What stands between cells."""
    return declared or ("\t" if ".tsv" in file.name.lower() else ",")


def read_csv(
    files: SourceFiles,
    file: SourceFile,
    delimiter: str,
    names: Sequence[str] | None,
    part: ByteRange | None = None,
    types: Mapping[str, Any] | None = None,
) -> Iterator[RawBatch]:
    """Rows of one file, cells as text, empty ones null; first a batch that has none.

    Args:
        files: The source.
        file: One of its files.
        delimiter: What stands between cells.
        names: Columns to keep; None keeps all.
        part: Lines to read; rows are numbered from 1 there, too.
        types: Numeric types of columns, which batches may have in place of text.

    Raises:
        DataError: The file cannot be read, or the names of its columns are refused.
    """
    if file.size == 0:
        return
    available = _header(files, file, delimiter)
    if not available:
        return
    check_names(file.name, available)
    yield RawBatch(with_origin({}, file.name, NO_ROWS), available)
    chosen = [name for name in available if names is None or name in names]
    ending = "\n" + delimiter.join([SENTINEL] * len(available))
    parser = BlockParser(available, chosen, delimiter, types or {})
    records = _Records(file, available, chosen, parser)
    if part is None:
        with files.unpacked(file) as stream:
            text = Utf8Stream(stream, file.name, ending)
            yield from records.read(text, delimiter, has_header=True)
        return
    with files.opened(file, seekable=True) as stream:
        text = Utf8Stream(_Lines(stream, part), file.name)
        yield from records.read(text, delimiter, has_header=part.start == 0)


class _Records:
    """One pass over the records of a file."""

    def __init__(
        self,
        file: SourceFile,
        available: tuple[str, ...],
        chosen: list[str],
        parser: BlockParser,
    ) -> None:
        self._file = file
        self._available = available
        self._chosen = chosen
        self._parser = parser
        self._num_records = 0
        """Of the blocks that were parsed one by one."""
        self._last = 0
        self._skipped: list[Rejected] = []
        """Records that Arrow skipped, not yet handed on."""

    def read(self, text: Utf8Stream, delimiter: str, *, has_header: bool) -> Iterator[RawBatch]:
        """Batches of about one block each."""
        lines = Lines(text)
        if not has_header or lines.skip_header():
            has_header = False
            for block in lines.blocks():
                table = self._of_block(block)
                if table is not None and table.num_rows:
                    yield self._batch(table, text)
        ahead: pa.Table | None = None
        for table in self._tables(lines, delimiter, has_header=has_header):
            if not table.num_rows:
                continue
            if ahead is not None:
                yield self._batch(ahead, text)
            ahead = table
        if ahead is not None and text.has_ended:
            ahead = self._without_ending(ahead)
        if ahead is not None:
            yield self._batch(ahead, text)
        empty = with_origin({}, self._file.name, NO_ROWS)
        yield RawBatch(empty, self._available, tuple(self._skipped))

    def _of_block(self, block: bytes) -> pa.Table | None:
        parsed = self._parser.parsed(block)
        for number, num_cells in parsed.skipped:
            self._skip(self._num_records + number, num_cells)
        self._num_records += len(parsed.skipped) + (parsed.table.num_rows if parsed.table else 0)
        return parsed.table

    def _skip(self, row: int, num_cells: int) -> None:
        reason = f"has {num_cells} cells, expected {len(self._available)}"
        self._skipped.append(Rejected(reason, self._file.name, row))

    def _tables(self, text: Lines, delimiter: str, *, has_header: bool) -> Iterator[pa.Table]:
        first = 1 if has_header else 0  # what Arrow counts before the first row

        def set_aside(row: Any) -> str:
            self._skip(self._num_records + row.number - first, row.actual_columns)
            return "skip"

        # Arrow numbers the rows it skips only when it parses with one thread.
        read = pa.csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK_BYTES,
            column_names=None if has_header else list(self._available),
        )
        parse = pa.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=set_aside
        )
        convert = conversion(self._available, self._chosen, {})
        try:
            yield from map(_table, pa.csv.open_csv(pa.PythonFile(text), read, parse, convert))
        except pa.ArrowInvalid as error:
            if "straddling" in str(error):
                raise DataError(
                    f"{self._file.name} has a record of more than {BLOCK_BYTES >> 20} MB, perhaps "
                    "behind a quote that is never closed; mend or remove the file."
                ) from error
            if EMPTY not in str(error):
                raise

    def _batch(self, table: pa.Table, text: Utf8Stream) -> RawBatch:
        """Cells as text; rows with bytes that are none are rejected."""
        numbers = [r.row for r in self._skipped]
        rows = _next_numbers(self._last, table.num_rows, numbers)
        self._last = int(rows[-1]) if len(rows) else self._last
        rejected = [r for r in self._skipped if r.row < self._last]
        self._skipped = self._skipped[len(rejected) :]
        if text.has_marks:
            garbled = self._garbled(table)
            rejected += [Rejected(why, self._file.name, int(rows[i])) for i, why in garbled.items()]
            sound = np.ones(len(rows), dtype=bool)
            sound[list(garbled)] = False
            table, rows = table.filter(pa.array(sound)), rows[sound]
        kept = {name: table[name] for name in table.column_names}
        batch = with_origin(kept, self._file.name, rows)
        return RawBatch(batch, self._available, tuple(rejected))

    def _garbled(self, table: pa.Table) -> dict[int, str]:
        found: dict[int, str] = {}
        for name in table.column_names:
            if not pa.types.is_string(table.schema.field(name).type):
                continue
            marked = pc.fill_null(pc.match_substring(table[name], MARK), False)
            for place in np.flatnonzero(marked.to_numpy(zero_copy_only=False)):
                found.setdefault(int(place), f"column {name!r} is not valid UTF-8")
        return found

    def _without_ending(self, table: pa.Table) -> pa.Table:
        """The last rows less the sentinel, or less the row whose open quote has swallowed it."""
        final = table.slice(table.num_rows - 1).to_pylist()[0]
        if set(final.values()) == {SENTINEL}:
            return table.slice(0, table.num_rows - 1)
        reason = "opens a quote that is never closed"
        rows = _next_numbers(self._last, table.num_rows, [r.row for r in self._skipped])
        if self._skipped and self._skipped[-1].row > rows[-1]:
            self._skipped[-1] = replace(self._skipped[-1], reason=reason)
            return table
        self._skipped.append(Rejected(reason, self._file.name, int(rows[-1])))
        return table.slice(0, table.num_rows - 1)


class _Lines(io.RawIOBase):
    """The whole lines of a file that begin in a range of bytes."""

    def __init__(self, stream: Any, part: ByteRange) -> None:
        self._stream = stream
        self._stop = part.stop
        self._at = part.start
        self._is_done = False
        stream.seek(max(0, part.start - 1))
        self._rest = self._from_first_line() if part.start else b""

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none only at the end."""
        chunk, self._rest = self._rest, b""
        chunk = chunk or (b"" if self._is_done else self._stream.read(size))
        if 0 <= size < len(chunk):
            chunk, self._rest = chunk[:size], chunk[size:]
        end = self._at + len(chunk)
        if end >= self._stop:
            newline = chunk.find(b"\n", max(0, self._stop - 1 - self._at))
            if newline >= 0:
                chunk, self._rest, self._is_done = chunk[: newline + 1], b"", True
        self._at = end
        return chunk

    def _from_first_line(self) -> bytes:
        """What follows the first line end at or after the byte before the range."""
        position = self._at - 1
        while chunk := self._stream.read(BLOCK_BYTES):
            newline = chunk.find(b"\n")
            if newline >= 0:
                self._at = position + newline + 1
                self._is_done = self._at >= self._stop
                return b"" if self._is_done else chunk[newline + 1 :]
            position += len(chunk)
        self._is_done = True
        return b""


def _header(files: SourceFiles, file: SourceFile, delimiter: str) -> tuple[str, ...]:
    """Names in the first record; none if there is nothing but blank lines."""
    with files.unpacked(file) as stream:
        text = Utf8Stream(stream, file.name)
        head = text.read(HEAD_BYTES)
        while (
            b"\n" not in head.lstrip()
            and len(head) < BLOCK_BYTES
            and (more := text.read(HEAD_BYTES))
        ):
            head += more
        if not head.strip():
            return ()
        whole = head[: head.rfind(b"\n") + 1] or head + b"\n"
        read = pa.csv.ReadOptions(use_threads=False, block_size=len(whole) + 1)
        parse = pa.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=lambda _: "skip"
        )
        try:
            names = pa.csv.open_csv(pa.BufferReader(whole), read, parse).schema.names
        except pa.ArrowInvalid as error:
            if EMPTY not in str(error):
                raise
            raise DataError(
                f"{file.name} opens a quote in its header that is never closed; mend the file."
            ) from error
    return tuple(names)


def _table(batch: Any) -> pa.Table:
    return pa.Table.from_batches([batch])


def _next_numbers(last: int, count: int, skipped: list[int]) -> Rows:
    """Numbers of the next `count` records after `last`, without those that were skipped."""
    ahead = [number for number in skipped if number > last]
    numbers = np.arange(last + 1, last + 1 + count + len(ahead))
    return numbers[~np.isin(numbers, ahead)][:count]
