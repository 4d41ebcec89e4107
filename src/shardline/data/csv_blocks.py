"""Blocks of delimited text without quotes: each parsed by itself, numbers without becoming text.

Where no quote is, a line break ends a record, so that a block which holds something unexpected can
be read again by itself, every cell as text.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv

from shardline.data.survey import MAX_PLAIN

# Larger blocks leave the processor's cache: of 4 MB, parsing takes a fifth more time.
LINES_BYTES = 2 << 20
# Lines of more are left to who reads what comes next.
MAX_LINE_BYTES = 4 << 20
# After so many blocks that had to be read again, numbers are read as text at once.
MAX_MISSES = 3
EMPTY = "Empty CSV"


class Lines(io.RawIOBase):
    """A stream of text, as whole lines up to its first double quote, then as it comes."""

    def __init__(self, text: Any) -> None:
        self._text = text
        self._rest = b""

    def blocks(self) -> Iterator[bytes]:
        """Whole lines; what follows the last of them is still to be read from the stream."""
        while True:
            chunk = self._text.read(LINES_BYTES)
            held = self._rest + chunk
            end = _end_of_lines(held) if chunk else len(held)
            if b'"' in held:
                end = 0
            self._rest = held[end:]
            if end:
                yield held[:end]
            elif not chunk or b'"' in held or len(held) > MAX_LINE_BYTES:
                return  # what is left, if any, is not to be cut here

    def skip_header(self) -> bool:
        """Leave out the first line that is not blank; False if it is not known where it ends."""
        held = b""
        while len(held) <= MAX_LINE_BYTES:
            chunk = self._text.read(LINES_BYTES)
            held = (held + chunk).lstrip(b"\r\n")
            ends = [place for mark in (b"\n", b"\r") if (place := held.find(mark)) >= 0]
            if ends or not chunk:
                break
        end = min(ends, default=len(held))
        is_whole = held[:end].count(b'"') % 2 == 0
        self._rest = held[end:] if is_whole else held
        return is_whole

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none only at the end."""
        if not self._rest:
            more: bytes = self._text.read(size)
            return more
        end = len(self._rest) if size < 0 else size
        head, self._rest = self._rest[:end], self._rest[end:]
        return head


@dataclass(frozen=True)
class ParsedBlock:
    """The records of a block."""

    table: pa.Table | None
    """None if there is none."""
    skipped: list[tuple[int, int]]
    """Number, from 1, of each record that has another number of cells, and that number."""


class BlockParser:
    """Parses blocks of one file.

    Args:
        names: All columns.
        chosen: Those to keep.
        delimiter: What stands between cells.
        types: Numeric types of columns, as far as they are known; the others are text.
    """

    def __init__(
        self,
        names: Sequence[str],
        chosen: Sequence[str],
        delimiter: str,
        types: Mapping[str, Any],
    ) -> None:
        self._names = list(names)
        self._chosen = list(chosen)
        self._delimiter = delimiter
        self._types = {name: types[name] for name in chosen if name in types}
        self._has_integers = any(pa.types.is_integer(each) for each in self._types.values())
        self._misses = 0

    def parsed(self, block: bytes) -> ParsedBlock:
        """Cells as numbers where all of a column's are plain ones, else all as text."""
        if self._types and self._misses < MAX_MISSES and not self._may_hold_hexadecimal(block):
            try:
                found = self._parsed(block, self._types)
            except pa.ArrowInvalid:
                self._misses += 1
            else:
                if found.table is None or _holds_plain_numbers(found.table):
                    return found
                self._misses += 1
        return self._parsed(block, {})

    def _parsed(self, block: bytes, types: Mapping[str, Any]) -> ParsedBlock:
        skipped: list[tuple[int, int]] = []

        def set_aside(row: Any) -> str:
            skipped.append((row.number, row.actual_columns))
            return "skip"

        # Arrow numbers the rows it skips only when it parses with one thread.
        read = pa.csv.ReadOptions(
            use_threads=False, block_size=len(block) + 1, column_names=self._names
        )
        parse = pa.csv.ParseOptions(delimiter=self._delimiter, invalid_row_handler=set_aside)
        convert = conversion(self._names, self._chosen, types)
        try:
            table = pa.csv.read_csv(pa.BufferReader(block), read, parse, convert)
        except pa.ArrowInvalid as error:
            if EMPTY not in str(error):
                raise
            table = None
        return ParsedBlock(table, skipped)

    def _may_hold_hexadecimal(self, block: bytes) -> bool:
        """Arrow takes 0x10 for a whole number, people do not mean it."""
        if not self._has_integers or (b"x" not in block and b"X" not in block):
            return False
        return b"0x" in block or b"0X" in block


def conversion(names: Sequence[str], chosen: Sequence[str], types: Mapping[str, Any]) -> Any:
    """How cells become values: empty ones null, all but the given columns text."""
    return pa.csv.ConvertOptions(
        include_columns=list(chosen),
        column_types={name: types.get(name, pa.string()) for name in names},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        check_utf8=False,
    )


def _end_of_lines(text: bytes) -> int:
    return max(text.rfind(b"\n"), text.rfind(b"\r")) + 1


def _holds_plain_numbers(table: pa.Table) -> bool:
    """Whether all numbers are such that their text, looked at, would be taken for them."""
    for column in table.columns:
        if pa.types.is_string(column.type):
            continue
        numbers = (column.drop_null() if column.null_count else column).to_numpy()
        # Comparisons with NaN, which ends may be, are false.
        if len(numbers) and not (numbers.min() > -MAX_PLAIN and numbers.max() < MAX_PLAIN):
            return False
    return True
