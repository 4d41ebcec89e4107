"""JSON lines to Arrow: whole blocks by Arrow's parser, blocks that it refuses line by line."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json

from shardline.data.casting import is_list
from shardline.data.column_names import check_names
from shardline.data.quarantine import Rejected
from shardline.data.rows import RawBatch, with_origin
from shardline.data.sources import SourceFile, SourceFiles
from shardline.data.utf8 import MARK, Utf8Stream
from shardline.errors import DataError

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 64 << 20
_MARK = MARK.encode()
# What Arrow raises when Python values do not share a type.
_MIXED = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)


def read_json_lines(
    files: SourceFiles, file: SourceFile, columns: Sequence[str] | None
) -> Iterator[RawBatch]:
    """Rows of one file; a line that is no JSON object is rejected.

    Args:
        files: The source.
        file: One of its files.
        columns: Columns to keep; None keeps all. One that a block lacks is left out of its table.

    Raises:
        DataError: The file cannot be read, is a JSON array, or names of fields are refused.
    """
    row = 1
    for block in _blocks(files, file):
        if row == 1 and block.lstrip().startswith(b"["):
            raise DataError(
                f"{file.name} is a JSON array, expected JSON lines; write one object per line."
            )
        lines = [line for line in block.split(b"\n") if line.strip()]
        whole = b"\n".join(lines)
        batch = None if _MARK in whole else _parsed(whole, len(lines), file.name, row)
        batch = batch or _by_line(lines, file.name, row)
        check_names(file.name, batch.available)
        row += len(lines)
        if columns is not None:
            dropped = [name for name in batch.available if name not in columns]
            batch = replace(batch, table=batch.table.drop_columns(dropped))
        yield batch


def _blocks(files: SourceFiles, file: SourceFile) -> Iterator[bytes]:
    """Whole lines, about `BLOCK_BYTES` at a time."""
    rest: list[bytes] = []
    held = 0
    with files.unpacked(file) as stream:
        text = Utf8Stream(stream, file.name)
        while chunk := text.read(BLOCK_BYTES):
            head, newline, tail = chunk.rpartition(b"\n")
            if newline:
                yield b"".join([*rest, head])
                rest, held = [], 0
            rest.append(tail)
            held += len(tail)
            if held > MAX_LINE_BYTES:
                raise DataError(
                    f"{file.name} has a line of more than {MAX_LINE_BYTES >> 20} MB, expected JSON "
                    "lines; write one object per line."
                )
    if any(part.strip() for part in rest):
        yield b"".join(rest)


def _parsed(block: bytes, num_lines: int, file: str, first_row: int) -> RawBatch | None:
    """The block by Arrow's parser; None if it holds anything that parser stumbles over."""
    if not num_lines:
        return None
    options = pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        table = pa.json.read_json(pa.BufferReader(block), read_options=options)
        # Arrow takes text that looks like a date for one; a row's text is kept as written.
        dates = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
        if dates:
            schema = pa.schema([(name, pa.string()) for name in dates])
            parse = pa.json.ParseOptions(explicit_schema=schema)
            table = pa.json.read_json(
                pa.BufferReader(block), read_options=options, parse_options=parse
            )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != num_lines:  # several objects on one line
        return None
    rows = np.arange(first_row, first_row + num_lines)
    columns = {name: table[name] for name in table.column_names}
    return RawBatch(with_origin(columns, file, rows), tuple(columns))


def _by_line(lines: list[bytes], file: str, first_row: int) -> RawBatch:
    records: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str] = {}
    for row, line in enumerate(lines, start=first_row):
        if _MARK in line:
            reasons[row] = "is not valid UTF-8"
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            reasons[row] = f"is not valid JSON ({error})"
            continue
        if isinstance(value, dict):
            records[row] = value
        else:
            reasons[row] = f"is {type(value).__name__}, expected a JSON object"
    names = tuple(dict.fromkeys(name for record in records.values() for name in record))
    types = {name: _settled_type(name, records, reasons) for name in names}
    good = [row for row in records if row not in reasons]
    columns = {
        name: pa.array([records[row].get(name) for row in good], types[name]) for name in names
    }
    table = with_origin(columns, file, np.asarray(good, dtype=np.int64))
    rejected = tuple(Rejected(reason, file, row) for row, reason in sorted(reasons.items()))
    return RawBatch(table, names, rejected)


def _settled_type(name: str, records: dict[int, dict[str, Any]], reasons: dict[int, str]) -> Any:
    """The Arrow type of a field; rows that hold another kind than most are given a reason."""
    values = {row: record.get(name) for row, record in records.items() if row not in reasons}
    try:
        return pa.array(values.values()).type
    except _MIXED:
        types = [t for value in values.values() if (t := _inferred(value)) is not None]
    floats = [t for t in types if pa.types.is_floating(t.value_type if is_list(t) else t)]
    settled = Counter(types).most_common(1)[0][0] if types else pa.string()
    if floats and settled in (pa.int64(), pa.list_(pa.int64())):
        settled = pa.list_(pa.float64()) if is_list(settled) else pa.float64()
    for row, value in values.items():
        try:
            pa.scalar(value, settled)
        except _MIXED:
            reasons[row] = f"field {name!r} is {value!r}, most rows hold {settled}"
    return settled


def _inferred(value: Any) -> Any:
    try:
        return None if value is None else pa.scalar(value).type
    except _MIXED:
        return None
