"""Typed rows: outliers clipped or set aside, missing values filled, indicators put beside them.

The same for the rows of a dataset and for rows that a model is given later.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.cleaning.outliers import beyond, clipped
from shardline.data.cleaning.record import Fault, Touched
from shardline.data.treatment import Treatment


@dataclass(frozen=True)
class Treated:
    """Rows after the steps that need types."""

    table: pa.Table
    """The rows that stay, each treated column followed by its indicator."""
    faults: dict[int, Fault]
    """Rows that were set aside, by their position before."""
    touched: Touched


def treat(table: pa.Table, treatments: Mapping[str, Treatment]) -> Treated:
    """Take the steps `low` and `high`, `fill` and `indicator` of every column.

    Args:
        table: Typed rows; nulls are missing values. Columns without a treatment stay as they are.
        treatments: By column; one that the table lacks is passed over.
    """
    present = {name: t for name, t in treatments.items() if name in table.column_names}
    touched = Touched()
    faults: dict[int, Fault] = {}
    for name, treatment in present.items():
        if treatment.beyond == "quarantine":
            found = _outliers(table[name].combine_chunks(), name, treatment)
            fresh = {row: fault for row, fault in found.items() if row not in faults}
            touched[name, "outliers"] += len(fresh)
            faults |= fresh
    if faults:
        kept = np.ones(table.num_rows, dtype=bool)
        kept[list(faults)] = False
        table = table.filter(pa.array(kept))
    for name, treatment in present.items():
        table = _treat_column(table, name, treatment, touched)
    return Treated(table, faults, touched)


def _outliers(values: pa.Array, name: str, treatment: Treatment) -> dict[int, Fault]:
    below, above = beyond(values, treatment.low, treatment.high)
    faults = {}
    for mask, side, bound in ((below, "below", treatment.low), (above, "above", treatment.high)):
        for row in np.flatnonzero(mask):
            reason = f"{name!r} is {values[row].as_py()!r}, {side} the bound {bound!r}"
            faults[int(row)] = Fault("outlier", reason)
    return faults


def _treat_column(table: pa.Table, name: str, treatment: Treatment, touched: Touched) -> pa.Table:
    place = table.schema.get_field_index(name)
    field, values = table.schema.field(place), table[name].combine_chunks()
    missing = pc.is_null(values)
    if treatment.beyond == "clip":
        below, above = beyond(values, treatment.low, treatment.high)
        touched[name, "clipped"] += int(below.sum() + above.sum())
        values = clipped(values, treatment.low, treatment.high)
    if treatment.fill is not None and values.null_count:
        touched[name, "filled"] += values.null_count
        values = pc.fill_null(values, pa.scalar(treatment.fill, values.type))
    if treatment.fill is not None:
        field = field.with_nullable(False)
    table = table.set_column(place, field, values)
    if treatment.indicator is None:
        return table
    extra = pa.field(treatment.indicator, pa.float32(), nullable=False)
    return table.add_column(place + 1, extra, missing.cast(pa.float32()))
