"""Second pass, piece by piece: every row gets its side and place, and is parked sorted by them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.cleaning.record import Fault, Touched
from shardline.data.column_names import PLACE_COLUMN, SIDE_COLUMN
from shardline.data.division import Division, Piece
from shardline.data.elements import is_text
from shardline.data.encoded_images import is_image
from shardline.data.quarantine import Rejected
from shardline.data.row_hash import content_hashes
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RowLayout, rejected_of
from shardline.data.scratch import Scratch
from shardline.data.split import NO_SIDE, Sides

RUN_BYTES = 48 << 20
PLACE = b"place"

Int64s = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Dealing:
    """How rows are dealt. Instances can be pickled."""

    division: Division
    place_bits: int
    """Runs are cut by so many leading bits of the place."""
    parked: Scratch
    """Where the pieces lie."""
    scratch: Scratch
    """Where runs go."""


@dataclass(frozen=True)
class Run:
    """Rows sorted by side and by the leading bits of their place."""

    name: str
    place_bits: int
    groups: "np.ndarray[Any, np.dtype[np.uint16]]"
    """Of every batch of the file, ascending: its side, then the leading bits of its places."""
    num_rows: "np.ndarray[Any, np.dtype[np.uint32]]"
    """Of every batch."""

    def batches(self, side: int, places: range) -> tuple[int, int]:
        """The first of the batches with some of a side's places, and the end."""
        bounds = [(side << self.place_bits) + place for place in (places.start, places.stop)]
        first, stop = np.searchsorted(self.groups, bounds)
        return int(first), int(stop)

    def counts(self, side: int) -> Int64s:
        """Rows of a side: int64 [2 ** place_bits]."""
        counts = np.zeros(1 << self.place_bits, np.int64)
        first, stop = self.batches(side, range(len(counts)))
        places = self.groups[first:stop] & np.uint16(len(counts) - 1)
        counts[places] = self.num_rows[first:stop]
        return counts


@dataclass(frozen=True)
class Dealt:
    """One piece after the second pass."""

    runs: tuple[Run, ...]
    num_bytes: int
    """Size of all values, the same however rows are cut into batches."""
    labels: frozenset[str]
    """Texts of a label that gets a vocabulary."""
    rejected: tuple[Rejected, ...]
    """Rows that cleaning sets aside."""
    touched: Touched


def deal_piece(dealing: Dealing, with_sides: tuple[Piece, Sides | None]) -> Dealt:
    """Clean and deal the rows of a parked piece.

    Args:
        dealing: How.
        with_sides: The piece, and its rows' sides if they are settled.
    """
    piece, settled = with_sides
    if settled is not None:
        dealing = replace(dealing, division=replace(dealing.division, sides={piece.name: settled}))
    runs: list[Run] = []
    labels: set[str] = set()
    rejected: list[Rejected] = []
    touched = Touched()
    num_bytes = 0
    for table in _gathered(_sided(dealing, piece), RUN_BYTES):
        treated = dealing.division.cleaning.apply(table)
        touched.update(treated.touched)
        rejected += _set_aside(table, treated.faults, piece)
        sides = treated.table[SIDE_COLUMN].to_numpy()
        table = treated.table.drop_columns([ORIGIN_FILE, ORIGIN_ROW, SIDE_COLUMN]).combine_chunks()
        num_bytes += values_bytes(table)
        labels.update(_label_texts(table, dealing.division.layout))
        name = f"runs/{piece.name.rpartition('/')[2]}-{len(runs):04d}.arrow"
        runs.append(_sorted_run(dealing, table, sides, name))
    return Dealt(tuple(runs), num_bytes, frozenset(labels), tuple(rejected), touched)


def _sided(dealing: Dealing, piece: Piece) -> Iterator[pa.Table]:
    """The rows that have a side, with it."""
    first = 0
    for table in dealing.parked.read(piece.name):
        sides = dealing.division.sides_in(piece, table, first)
        first += table.num_rows
        table = table.append_column(SIDE_COLUMN, pa.array(sides, pa.int8()))
        if (sides == NO_SIDE).any():
            table = table.filter(pa.array(sides != NO_SIDE))
        yield table


def _set_aside(table: pa.Table, faults: Mapping[int, Fault], piece: Piece) -> tuple[Rejected, ...]:
    if not faults:
        return ()
    reasons = {row: fault.reason for row, fault in faults.items()}
    rules = {row: fault.rule for row, fault in faults.items()}
    return rejected_of(table, reasons, rules=rules, rows_before=piece.rows_before)


def values_bytes(table: pa.Table) -> int:
    """Bytes that the values take: widths of numbers, of a text or image eight and its length."""
    total = 0
    for column in table.columns:
        if pa.types.is_string(column.type) or is_image(column.type):
            total += 8 * len(column) + (pc.sum(pc.binary_length(column)).as_py() or 0)
        elif is_text(column.type):
            total += sum(values_bytes(pa.table([c.storage.flatten()], [""])) for c in column.chunks)
        else:
            element = getattr(column.type, "value_type", column.type)
            size = int(np.prod(getattr(column.type, "shape", ())))
            total += len(column) * size * max(1, element.bit_width // 8)
    return total


def _gathered(batches: Iterator[pa.Table], run_bytes: int) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    num_bytes = 0
    for table in batches:
        held.append(table)
        num_bytes += table.nbytes
        if num_bytes >= run_bytes:
            yield pa.concat_tables(held)
            held, num_bytes = [], 0
    if held:
        yield pa.concat_tables(held)


def _sorted_run(dealing: Dealing, table: pa.Table, sides: Sides, name: str) -> Run:
    places = content_hashes(table, purpose=PLACE)
    width = 1 << dealing.place_bits
    bins = (places >> np.uint64(64 - dealing.place_bits)).astype(np.uint16)
    # Rows of a bin need no order yet; 16-bit numbers are sorted by radix, eight times as fast.
    groups = sides.astype(np.uint16) * np.uint16(width) + bins
    present, counts = np.unique(groups, return_counts=True)
    order = np.argsort(groups, kind="stable")
    table = table.append_column(PLACE_COLUMN, pa.array(places)).take(pa.array(order))
    cuts = np.concatenate([[0], np.cumsum(counts)])
    dealing.scratch.write(name, (table.slice(a, b - a) for a, b in pairwise(cuts)))
    return Run(name, dealing.place_bits, present, counts.astype(np.uint32))


def _label_texts(table: pa.Table, layout: RowLayout) -> list[str]:
    if layout.label is None or layout.label.dtype != "string":
        return []
    texts: list[str] = pc.unique(table[layout.label.name]).to_pylist()
    return texts
