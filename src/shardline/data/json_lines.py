"""JSON lines to Arrow: whole blocks by Arrow's parser, blocks that it refuses line by line."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from shardline.data.column_names import check_names
from shardline.data.elements import is_list
from shardline.data.quarantine import Rejected
from shardline.data.rows import RawBatch, with_origin
from shardline.data.sources import SourceFile, SourceFiles
from shardline.data.utf8 import MARK, Utf8Stream
from shardline.errors import DataError

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 64 << 20
# Whole numbers from here on are rounded by float64.
MAX_EXACT = 1 << 53
MAX_WHOLE = 1 << 1000
_LONG_INTEGER = re.compile(rb"[:,\[\s-]\d{16,}(?![\d.eE])")
# Of more than 19 digits orjson makes floats.
_HUGE_INTEGER = re.compile(rb"\d{20}")
_NULL_LINE = re.compile(rb"\n[ \t\r]*null")
_MARK = MARK.encode()
# What Arrow raises when Python values do not share a type.
_MIXED = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError)


class _TwiceError(ValueError):
    """An object has two values of one name; the message says which."""


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
        whole = b"\n".join([b"", *lines])
        # Arrow 26 takes a line that is null for an object, and dies of one that comes first.
        is_odd = _MARK in whole or _NULL_LINE.search(whole)
        batch = None if is_odd else _parsed(whole, len(lines), file.name, row)
        batch = batch or _by_line(lines, file.name, row, columns)
        check_names(file.name, batch.available)
        row += len(lines)
        if columns is not None:
            dropped = [name for name in batch.available if name not in columns]
            dropped = [name for name in dropped if name in batch.table.column_names]
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
    try:
        table = _read(block)
        types = {f.name: _as_written(f.type, table[f.name], block) for f in table.schema}
        changed = {name: kind for name, kind in types.items() if kind != table[name].type}
        if changed:
            table = _read(block, pa.schema(list(changed.items())))
    except pa.ArrowInvalid:
        return None
    if table.num_rows != num_lines:  # several objects on one line
        return None
    rows = np.arange(first_row, first_row + num_lines)
    columns = {name: table[name] for name in table.column_names}
    return RawBatch(with_origin(columns, file, rows), tuple(columns))


def _read(block: bytes, schema: Any = None) -> pa.Table:
    read = pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    parse = pa.json.ParseOptions(explicit_schema=schema)
    return pa.json.read_json(pa.BufferReader(block), read_options=read, parse_options=parse)


def _as_written(kind: Any, values: pa.ChunkedArray, block: bytes) -> Any:
    """The type that keeps what is written where Arrow's choice of one does not.

    Arrow takes texts that look like dates for dates. One whole number beyond int64 makes it round
    all others of the column to floats, identifiers that are hashes for one.
    """
    if is_list(kind):
        return pa.list_(_as_written(kind.value_type, pc.list_flatten(values), block))
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_floating(kind):
        ends = pc.min_max(values).as_py()
        is_exact = max(-(ends["min"] or 0), ends["max"] or 0) < MAX_EXACT
        return kind if is_exact or not _LONG_INTEGER.search(block) else pa.uint64()
    return kind


def _by_line(
    lines: list[bytes], file: str, first_row: int, columns: Sequence[str] | None
) -> RawBatch:
    records: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str] = {}
    for row, line in enumerate(lines, start=first_row):
        if _MARK in line:
            reasons[row] = "is not valid UTF-8"
            continue
        try:
            value = _value(line)
        except orjson.JSONDecodeError as error:
            reasons[row] = f"is not valid JSON ({error})"
            continue
        except (_TwiceError, RecursionError) as error:
            reasons[row] = str(error)
            continue
        if isinstance(value, dict):
            records[row] = value
        else:
            kind = "null" if value is None else type(value).__name__
            reasons[row] = f"is {kind}, expected a JSON object"
    names = tuple(dict.fromkeys(name for record in records.values() for name in record))
    chosen = [name for name in names if columns is None or name in columns]
    types = {name: _settled_type(name, records, reasons) for name in chosen}
    good = [row for row in records if row not in reasons]
    arrays = {
        name: pa.array([records[row].get(name) for row in good], types[name]) for name in chosen
    }
    table = with_origin(arrays, file, np.asarray(good, dtype=np.int64))
    rejected = tuple(Rejected(reason, file, row) for row, reason in sorted(reasons.items()))
    return RawBatch(table, names, rejected)


def _value(line: bytes) -> Any:
    """What a line says; numbers and repeated names that orjson passes over are looked at again.

    Raises:
        orjson.JSONDecodeError: It is no JSON.
        _TwiceError: An object has two values of one name.
        RecursionError: It is nested too deeply.
    """
    value = orjson.loads(line)
    if isinstance(value, dict) and (line.count(b'":') != len(value) or _HUGE_INTEGER.search(line)):
        return json.loads(line, object_pairs_hook=_unique)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(
            name for name, count in Counter(name for name, _ in pairs).items() if count > 1
        )
        raise _TwiceError(f"has field {twice!r} twice")
    return found


def _settled_type(name: str, records: dict[int, dict[str, Any]], reasons: dict[int, str]) -> Any:
    """The Arrow type of a field; rows that hold another kind than most are given a reason.

    Whole numbers of a field of floats that Arrow would refuse for their size become floats.
    """
    values = {row: record.get(name) for row, record in records.items() if row not in reasons}
    try:
        return pa.array(values.values()).type
    except _MIXED:
        types = [t for value in values.values() if (t := _inferred(value)) is not None]
    floats = [t for t in types if pa.types.is_floating(t.value_type if is_list(t) else t)]
    settled = Counter(types).most_common(1)[0][0] if types else pa.string()
    if floats and settled in (pa.int64(), pa.list_(pa.int64())):
        settled = pa.list_(pa.float64()) if is_list(settled) else pa.float64()
    if settled == pa.float64():
        values = {row: _floating(value) for row, value in values.items()}
        for row, value in values.items():
            records[row][name] = value
    for row, value in values.items():
        if not _fits(value, settled):
            reasons[row] = f"field {name!r} is {value!r}, most rows hold {settled}"
    return settled


def _fits(value: Any, kind: Any) -> bool:
    """Whether Arrow takes a value for a type; an empty text it takes for any empty thing."""
    if value is None:
        return True
    if is_list(kind) and not isinstance(value, list):
        return False
    if is_list(kind) and pa.types.is_nested(kind.value_type):
        return all(_fits(each, kind.value_type) for each in value)
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        return isinstance(value, dict) and all(
            _fits(each, fields[name]) for name, each in value.items() if name in fields
        )
    try:
        pa.scalar(value, kind)
    except _MIXED:
        return False
    return True


def _floating(value: Any) -> Any:
    """A whole number beyond 2^53 as the float that is equal to it, if one is."""
    is_large = type(value) is int and MAX_EXACT < abs(value) < MAX_WHOLE
    return float(value) if is_large and float(value) == value else value


def _inferred(value: Any) -> Any:
    try:
        return None if value is None else pa.scalar(value).type
    except _MIXED:
        return None
