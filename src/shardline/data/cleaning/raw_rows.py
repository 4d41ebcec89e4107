"""Raw rows as a model takes them: treated as the rows were that it learned from."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.cleaning.tidying import tidy, tidy_numbers
from shardline.data.cleaning.treating import treat
from shardline.data.rows import (
    Batch,
    RawBatch,
    RowLayout,
    bounded,
    cast_columns,
    cast_rows,
    kept_mask,
    rejected_of,
    typed_table,
)
from shardline.data.schema import Column


def raw_names(columns: tuple[Column, ...]) -> list[str]:
    """Columns that raw rows must have for these, each once: indicators are made of others."""
    return list(dict.fromkeys(column.indicates or column.name for column in columns))


def cast_in_parts(batch: RawBatch, layout: RowLayout) -> Iterator[Batch]:
    """What `cast_raw_rows` makes of a batch, so many rows at a time that they fit in memory."""
    for part in bounded(batch, layout.features, decodes=True):
        cast = cast_raw_rows(part.table, layout)
        yield Batch(cast.table, part.rejected + cast.rejected)


def cast_raw_rows(raw: pa.Table, layout: RowLayout) -> Batch:
    """Raw rows in their final types, cleaned by the treatments of their columns, images decoded.

    Args:
        raw: Columns as they were read, with those of origin.
        layout: What the rows become; its features know their treatments.

    Returns:
        The columns of the layout; rows that cannot be used are rejected.

    Raises:
        DataError: A column's Arrow type can never become what the layout says.
    """
    layout = replace(layout, decodes=True)
    treatments = {c.indicates or c.name: c.treatment for c in layout.features if c.treatment}
    if not treatments:
        return cast_rows(raw, layout)
    tidied = tidy(raw, treatments)
    known = replace(
        layout,
        features=tuple(column for column in layout.features if not column.indicates),
        nullable=frozenset(name for name, t in treatments.items() if t.fill is not None),
    )
    cast, reasons = cast_columns(tidied.table, known)
    reasons = {row: fault.reason for row, fault in tidied.faults.items()} | reasons
    numbers = tidy_numbers(cast, treatments, rejected=reasons)
    reasons |= {row: fault.reason for row, fault in numbers.faults.items()}
    table = _with_indicators(typed_table(numbers.columns, known), tidied.table, layout)
    kept = np.setdiff1d(np.arange(raw.num_rows), list(reasons))
    plain = {name: t.model_copy(update={"indicator": None}) for name, t in treatments.items()}
    treated = treat(table.filter(kept_mask(raw.num_rows, reasons)), plain)
    reasons |= {int(kept[row]): fault.reason for row, fault in treated.faults.items()}
    names = [column.name for column, _ in layout.roles]
    return Batch(treated.table.select(names), rejected_of(raw, reasons))


def _with_indicators(table: pa.Table, tidied: pa.Table, layout: RowLayout) -> pa.Table:
    for column in layout.features:
        if column.indicates is None:
            continue
        # Typed, if the model takes it: more counts as missing then.
        known = table if column.indicates in table.column_names else tidied
        absent = column.indicates not in known.column_names
        values = pa.nulls(tidied.num_rows) if absent else known[column.indicates]
        field = pa.field(column.name, column.arrow_type, nullable=False)
        indicator = pc.is_null(values).cast(column.arrow_type)
        if table.num_columns:
            table = table.append_column(field, indicator)
        else:  # which has no rows either: the model takes indicators alone
            table = pa.table([indicator], schema=pa.schema([field]))
    return table
