"""Second pass, piece by piece: every row gets its side and place, and is parked sorted by them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.casting import is_text
from shardline.data.row_hash import content_hashes
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RowLayout
from shardline.data.scratch import Scratch
from shardline.data.split import sides
from shardline.errors import DataError
from shardline.spec.data import SPLITS, SplitName

# The hash that orders the rows of a side, as a column of parked tables.
PLACE_COLUMN = "shardline.place"
RUN_BYTES = 48 << 20
# What hashes are for.
PLACE = b"place"
SIDE = b"side"

Counts = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Dealing:
    """How rows are dealt. Instances can be pickled."""

    layout: RowLayout
    fractions: Mapping[SplitName, float]
    place_bits: int
    """Runs are cut by so many leading bits of the place."""
    scratch: Scratch
    run_bytes: int = RUN_BYTES


@dataclass(frozen=True)
class Run:
    """Rows sorted by side and place."""

    name: str
    counts: Counts
    """int64 [sides, 2 ** place_bits]; every one that is not zero is a batch of the file."""


@dataclass(frozen=True)
class Dealt:
    """One piece after the second pass."""

    runs: tuple[Run, ...]
    num_bytes: int
    """Size of all values, the same however rows are cut into batches."""
    labels: frozenset[str]
    """Texts of a label that gets a vocabulary."""


def deal_piece(dealing: Dealing, piece: str) -> Dealt:
    """Deal the rows of a parked piece, then remove it.

    Raises:
        DataError: The split's key is no column of texts or numbers.
    """
    runs: list[Run] = []
    labels: set[str] = set()
    num_bytes = 0
    for table in _gathered(dealing.scratch.read(piece), dealing.run_bytes):
        table = table.drop_columns([ORIGIN_FILE, ORIGIN_ROW]).combine_chunks()
        num_bytes += values_bytes(table)
        labels.update(_label_texts(table, dealing.layout))
        runs.append(_sorted_run(dealing, table, f"runs/{piece[7:-6]}-{len(runs):04d}.arrow"))
    dealing.scratch.delete(piece)
    return Dealt(tuple(runs), num_bytes, frozenset(labels))


def values_bytes(table: pa.Table) -> int:
    """Bytes that the values take: widths of numbers, and eight more than its length for a text."""
    total = 0
    for column in table.columns:
        if pa.types.is_string(column.type):
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
    for table in batches:
        held.append(table)
        if sum(part.nbytes for part in held) >= run_bytes:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _sorted_run(dealing: Dealing, table: pa.Table, name: str) -> Run:
    places = content_hashes(table, purpose=PLACE)
    side = _sides(dealing, table)
    bins = (places >> np.uint64(64 - dealing.place_bits)).astype(np.int64)
    width = 1 << dealing.place_bits
    counts = np.bincount(side.astype(np.int64) * width + bins, minlength=len(SPLITS) * width)
    order = np.lexsort((places, side))
    table = table.append_column(PLACE_COLUMN, pa.array(places)).take(pa.array(order))
    cuts = np.concatenate([[0], np.cumsum(counts[counts > 0])])
    slices = (table.slice(a, b - a) for a, b in pairwise(cuts))
    dealing.scratch.write(name, slices)
    return Run(name, counts.reshape(len(SPLITS), width))


def _sides(dealing: Dealing, table: pa.Table) -> "np.ndarray[Any, np.dtype[np.int8]]":
    if len(dealing.fractions) == 1:
        only = SPLITS.index(next(iter(dealing.fractions)))
        return np.full(table.num_rows, only, np.int8)
    key = dealing.layout.key
    if key is not None and key not in dealing.layout.carried:
        table = table.set_column(table.schema.get_field_index(key), key, _key_texts(table, key))
    chosen = table if key is None else pa.table({"": table[key]})
    return sides(content_hashes(chosen, purpose=SIDE), dealing.fractions)


def _key_texts(table: pa.Table, key: str) -> pa.ChunkedArray:
    try:
        return table[key].cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise DataError(
            f"data.split.key {key!r} holds {table.schema.field(key).type}; "
            "choose a column of texts or numbers."
        ) from error


def _label_texts(table: pa.Table, layout: RowLayout) -> list[str]:
    if layout.label is None or layout.label.dtype != "string":
        return []
    texts: list[str] = pc.unique(table[layout.label.name]).to_pylist()
    return texts
