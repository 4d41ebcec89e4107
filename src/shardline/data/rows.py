"""What to take from a raw source, and typed rows made of it: the same for datasets and scoring."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from shardline.data.casting import CastColumn, cast_column
from shardline.data.column_names import ORIGIN_FILE as ORIGIN_FILE
from shardline.data.column_names import ORIGIN_ROW as ORIGIN_ROW
from shardline.data.column_names import no_such_column
from shardline.data.encoded_images import cast_images
from shardline.data.quarantine import Rejected
from shardline.data.schema import Column

GROWN_BYTES = 16 << 20

Role = Literal["feature", "label", "key", "kept column", "cleaned column"]


@dataclass(frozen=True)
class RowLayout:
    """The columns of a row, each in its final type but for the label's vocabulary."""

    features: tuple[Column, ...]
    label: Column | None = None
    """A string column when a vocabulary turns it into numbers later."""
    carried: tuple[str, ...] = ()
    """Kept as text; nulls stay."""
    key: str | None = None
    """The carried column that decides the split, which may not be null."""
    nullable: frozenset[str] = frozenset()
    """Columns whose nulls are filled later and so reject no row."""
    decodes: bool = False
    """Whether encoded images become samples at once, as a model takes them, or go to shards."""

    @property
    def roles(self) -> list[tuple[Column, Role]]:
        """Every column with what it is for, in the order shards have them."""
        labels: list[tuple[Column, Role]] = [(self.label, "label")] if self.label else []
        texts = [Column(name=name, dtype="string") for name in self.carried]
        return [
            *((column, "feature") for column in self.features),
            *labels,
            *((text, "key" if text.name == self.key else "kept column") for text in texts),
        ]


@dataclass(frozen=True)
class RawBatch:
    """Rows as a reader found them."""

    table: pa.Table
    """Columns of any type, with `ORIGIN_FILE` and `ORIGIN_ROW`."""
    available: tuple[str, ...]
    """Columns that the file has, read or not."""
    rejected: tuple[Rejected, ...] = ()
    """Records that could not even be read."""


@dataclass(frozen=True)
class Batch:
    """Rows in their final types."""

    table: pa.Table
    rejected: tuple[Rejected, ...]

    @property
    def num_read(self) -> int:
        """Rows of the source that this batch accounts for."""
        return int(self.table.num_rows) + len(self.rejected)


def bounded(
    batch: RawBatch, features: Iterable[Column], *, decodes: bool = False
) -> Iterator[RawBatch]:
    """The batch in pieces that stay small when they are cast.

    A short list may become a long row, and an image file, where it is decoded, many samples.
    """
    row_bytes = sum(
        column.num_bytes for column in features if column.padding or (decodes and column.encoded)
    )
    num_rows = batch.table.num_rows
    step = max(1, GROWN_BYTES // row_bytes) if row_bytes else num_rows
    yield batch if num_rows <= step else replace(batch, table=batch.table.slice(0, step))
    for start in range(step, num_rows, max(1, step)):
        yield RawBatch(batch.table.slice(start, step), batch.available)


def with_origin(
    columns: Mapping[str, Any], file: str, rows: "np.ndarray[Any, np.dtype[np.int64]]"
) -> pa.Table:
    """A table of the columns and of where each row came from."""
    places = pa.array(np.zeros(len(rows), np.int32))
    files = pa.DictionaryArray.from_arrays(places, pa.array([file], pa.string()))
    return pa.table({**columns, ORIGIN_FILE: files, ORIGIN_ROW: pa.array(rows, pa.int64())})


def cast_rows(raw: pa.Table, layout: RowLayout) -> Batch:
    """Raw rows in their final types; rows with a null or unfitting value are rejected.

    A column that the table lacks counts as null in every row (JSON lines may leave fields out).

    Returns:
        The columns of the layout, without those of origin.

    Raises:
        DataError: A column's Arrow type can never become what the layout says.
    """
    columns, reasons = cast_columns(raw, layout)
    table = typed_table(columns, layout)
    if not reasons:
        return Batch(table, ())
    return Batch(table.filter(kept_mask(raw.num_rows, reasons)), rejected_of(raw, reasons))


def cast_columns(raw: pa.Table, layout: RowLayout) -> tuple[dict[str, CastColumn], dict[int, str]]:
    """Every column of a layout in its final type, and by position why rows cannot be kept."""
    reasons: dict[int, str] = {}
    columns: dict[str, CastColumn] = {}
    for column, role in layout.roles:
        present = column.name in raw.column_names
        values = raw[column.name] if present else pa.nulls(raw.num_rows)
        if column.encoded:
            cast = cast_images(values, column, role=role, decodes=layout.decodes)
        else:
            cast = cast_column(values, column, role=role)
        columns[column.name] = cast
        carries = role == "kept column" or column.name in layout.nullable
        for row, reason in cast.faults.items():
            if not carries or not reason.endswith("is null"):
                reasons.setdefault(row, reason)
    return columns, reasons


def typed_table(columns: Mapping[str, CastColumn], layout: RowLayout) -> pa.Table:
    """The columns of a layout, rows with faults included."""
    fields = [
        pa.field(
            column.name,
            column.arrow_type if layout.decodes else column.stored_type,
            nullable=role == "kept column" or column.name in layout.nullable,
        )
        for column, role in layout.roles
    ]
    return pa.table([cast.values for cast in columns.values()], schema=pa.schema(fields))


def kept_mask(num_rows: int, reasons: Mapping[int, str]) -> pa.Array:
    """True for rows without a reason."""
    keep = np.ones(num_rows, dtype=bool)
    keep[list(reasons)] = False
    return pa.array(keep)


def require_columns(
    available: Iterable[str], required: Iterable[tuple[str, Role]], where: str
) -> None:
    """Check that a source has the columns the spec names.

    Raises:
        DataError: One is missing; names those there are and the nearest.
    """
    names = list(available)
    for name, role in required:
        if name not in names:
            raise no_such_column(where, role, name, names)


def rejected_of(
    raw: pa.Table,
    reasons: Mapping[int, str],
    *,
    rules: Mapping[int, str] | None = None,
    rows_before: int = 0,
) -> tuple[Rejected, ...]:
    """The rows at some positions, by their place of origin.

    Args:
        raw: Rows with `ORIGIN_FILE` and `ORIGIN_ROW`.
        reasons: By position.
        rules: The spec's rules that set rows aside, by position; rows without one are unusable.
        rows_before: Rows of the same file that are not counted in `ORIGIN_ROW`.
    """
    places = sorted(reasons)
    origin = raw.select([ORIGIN_FILE, ORIGIN_ROW]).take(pa.array(places, pa.int64()))
    files, rows = (origin[name].to_pylist() for name in (ORIGIN_FILE, ORIGIN_ROW))
    return tuple(
        Rejected(reasons[place], file, row + rows_before, (rules or {}).get(place))
        for place, file, row in zip(places, files, rows, strict=True)
    )
