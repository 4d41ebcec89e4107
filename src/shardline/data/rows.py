"""What to take from a raw source, and typed rows made of it: the same for datasets and scoring."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from shardline.data.casting import cast_column
from shardline.data.quarantine import Rejected
from shardline.data.schema import Column
from shardline.errors import DataError

# Where a raw row came from, as columns of its table.
ORIGIN_FILE = "shardline.file"
ORIGIN_ROW = "shardline.row"

Role = Literal["feature", "label", "key", "kept column"]


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


def with_origin(
    columns: Mapping[str, Any], file: str, rows: "np.ndarray[Any, np.dtype[np.int64]]"
) -> pa.Table:
    """A table of the columns and of where each row came from."""
    files = pa.repeat(pa.scalar(file), len(rows))
    return pa.table({**columns, ORIGIN_FILE: files, ORIGIN_ROW: pa.array(rows, pa.int64())})


def cast_rows(raw: pa.Table, layout: RowLayout) -> Batch:
    """Raw rows in their final types; rows with a null or unfitting value are rejected.

    A column that the table lacks counts as null in every row (JSON lines may leave fields out).

    Raises:
        DataError: A column's Arrow type can never become what the layout says.
    """
    reasons: dict[int, str] = {}
    arrays, fields = [], []
    for column, role in layout.roles:
        present = column.name in raw.column_names
        values = raw[column.name] if present else pa.nulls(raw.num_rows)
        cast = cast_column(values, column, role=role)
        arrays.append(cast.values)
        fields.append(pa.field(column.name, column.arrow_type, nullable=role == "kept column"))
        for row, reason in cast.faults.items():
            if role != "kept column" or not reason.endswith("is null"):
                reasons.setdefault(row, reason)
    keep = np.ones(raw.num_rows, dtype=bool)
    keep[list(reasons)] = False
    kept = pa.array(keep)
    table = pa.table([a.filter(kept) for a in arrays], schema=pa.schema(fields))
    return Batch(table, _rejected(raw, reasons))


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
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f", did you mean {near[0]!r}?" if near else "."
            raise DataError(
                f"{where} has no {role} {name!r}; its columns are {', '.join(names)}{hint}"
            )


def _rejected(raw: pa.Table, reasons: dict[int, str]) -> tuple[Rejected, ...]:
    places = sorted(reasons)
    origin = raw.select([ORIGIN_FILE, ORIGIN_ROW]).take(pa.array(places, pa.int64()))
    files, rows = (origin[name].to_pylist() for name in (ORIGIN_FILE, ORIGIN_ROW))
    return tuple(
        Rejected(reasons[place], file, row)
        for place, file, row in zip(places, files, rows, strict=True)
    )
