"""Numbers that are parsed without becoming text are what their text would have become."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data import csv_blocks
from shardline.data.csv_blocks import Lines
from shardline.data.readers import read_tables
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RowLayout, cast_columns, typed_table
from shardline.data.schema import Column
from shardline.data.sources import list_source
from shardline.data.survey import Survey
from shardline.spec.data import CsvSource
from shardline.spec.locations import absolute

LAYOUT = RowLayout(
    features=(
        Column(name="whole", dtype="int64"),
        Column(name="narrow", dtype="int8"),
        Column(name="real", dtype="float64"),
        Column(name="half", dtype="float32"),
        Column(name="word", dtype="string"),
    )
)
TYPES = {column.name: column.arrow_type for column in LAYOUT.features[:4]}
PLAIN = ["0", "7", "-12", "127", "1.5", "-0.25", "1e3", "", "12345678"]
ODD = [
    "0x10", "0X1f", "nan", "inf", "-Infinity", "1e999", "+5", " 5", "5 ", "5.0", "128", "x", "1e18",
    "1000000000000000000", "999999999999999999999", "1_000", " ", "true", "\ufdd0", "\u00e9", ".5",
    "5.", "-0", "0.1234567890123456789", "16777217", "'1'",
]  # fmt: skip
CELL = st.sampled_from(PLAIN) | st.sampled_from(ODD)
ROW = st.lists(CELL, min_size=5, max_size=5) | st.lists(CELL, min_size=1, max_size=7)


def read_as(file, types):
    """Typed columns, why rows cannot be kept, where they came from, and what was counted."""
    source = CsvSource(format="csv", path=str(file))
    source = source.model_copy(update={"path": absolute(str(file), base=file.parent)})
    files = list_source(source, base=file.parent)
    survey, tables, reasons, rejected = Survey(typed=False), [], {}, []
    for batch in read_tables(files, source, [], everything=True, types=types):
        rejected += [(each.row, each.reason) for each in batch.rejected]
        if not batch.table.num_rows:
            continue
        columns, found = cast_columns(batch.table, LAYOUT)
        survey.add(batch, columns)
        rows = batch.table[ORIGIN_ROW].to_pylist()
        reasons |= {rows[place]: why for place, why in found.items()}
        typed = typed_table(columns, LAYOUT).append_column(ORIGIN_ROW, batch.table[ORIGIN_ROW])
        tables.append(typed.append_column(ORIGIN_FILE, batch.table[ORIGIN_FILE].cast(pa.string())))
    whole = pa.concat_tables(tables).combine_chunks().to_pydict() if tables else {}
    return whole, reasons, sorted(rejected), survey.columns


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(ROW, max_size=12),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    ends=st.booleans(),
    lines_bytes=st.sampled_from([16, 64, 1 << 20]),
    quoted=st.integers(-1, 12),
)
def test_numbers_parsed_at_once_are_what_their_text_becomes(
    rows, line_end, ends, lines_bytes, quoted
):
    lines = ["whole,narrow,real,half,word", *(",".join(row) for row in rows)]
    if 0 <= quoted < len(lines):
        first, comma, rest = lines[quoted].partition(",")
        lines[quoted] = f'"{first}"{comma}{rest}'
    text = line_end.join(lines) + (line_end if ends else "")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder, "raw.csv")
        file.write_bytes(text.encode())
        patch.setattr(csv_blocks, "LINES_BYTES", lines_bytes)
        assert repr(read_as(file, TYPES)) == repr(read_as(file, {}))


def test_lines_are_whole_up_to_the_first_quote(monkeypatch):
    monkeypatch.setattr(csv_blocks, "LINES_BYTES", 8)
    text = b'a,b\n1,2\n3,4\n5,6\n1,2\n3,4\n"7\n8",9\n10,11\n'
    lines = Lines(pa.PythonFile(pa.BufferReader(text), mode="r"))
    assert lines.skip_header()
    blocks = list(lines.blocks())
    assert all(block.endswith(b"\n") and b'"' not in block for block in blocks)
    rest = b"".join(iter(lambda: lines.read(5), b""))
    assert b"a,b" + b"".join(blocks) + rest == text
    assert len(blocks) > 1


def test_lines_longer_than_a_record_may_be_are_left(monkeypatch):
    monkeypatch.setattr(csv_blocks, "LINES_BYTES", 8)
    monkeypatch.setattr(csv_blocks, "MAX_LINE_BYTES", 16)
    lines = Lines(pa.PythonFile(pa.BufferReader(b"1,2\n" + b"x" * 40 + b"\n"), mode="r"))
    assert b"".join(lines.blocks()) == b"1,2\n"
    assert lines.read().startswith(b"x" * 17)
