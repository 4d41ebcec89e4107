"""Raw values, before their types are looked at: written alike, null where missing, renamed."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.casting import MAX_SHOWN, CastColumn
from shardline.data.cleaning.labels import mapped
from shardline.data.cleaning.missing import nulled
from shardline.data.cleaning.record import Fault, Step, Touched
from shardline.data.cleaning.text import normalised
from shardline.data.elements import is_text
from shardline.data.treatment import Treatment
from shardline.errors import DataError


@dataclass(frozen=True)
class Tidied:
    """A raw table after the steps that need no types."""

    table: pa.Table
    """As many rows as there were."""
    faults: dict[int, Fault]
    """Rows to set aside, by position."""
    touched: Touched


def tidy(raw: pa.Table, treatments: Mapping[str, Treatment]) -> Tidied:
    """Take the steps `text`, `null_values`, `map` and `drop_missing` of every column.

    Args:
        raw: Columns of any type; one that it lacks is missing in every row.
        treatments: By column.
    """
    faults: dict[int, Fault] = {}
    touched = Touched()
    for name, treatment in treatments.items():
        place = raw.schema.get_field_index(name)
        before = raw[name].combine_chunks() if place >= 0 else pa.nulls(raw.num_rows)
        values, counts = _tidy_column(before, treatment, name, faults)
        touched.update({(name, step): count for step, count in counts.items()})
        if place >= 0:
            raw = raw.set_column(place, name, values)
    return Tidied(raw, faults, touched)


@dataclass(frozen=True)
class TidiedNumbers:
    """Typed columns in which all numbers that count as missing are null."""

    columns: dict[str, CastColumn]
    faults: dict[int, Fault]
    """Rows to set aside, by position."""
    touched: Touched


def tidy_numbers(
    columns: Mapping[str, CastColumn],
    treatments: Mapping[str, Treatment],
    *,
    rejected: Container[int],
) -> TidiedNumbers:
    """Take the steps `null_values` and `drop_missing` of numbers that a file had as text.

    What is a number is known once it has been cast: -999.0 is then as missing as -999.

    Args:
        columns: All of them.
        treatments: By column.
        rejected: Rows that are set aside already, by position.
    """
    found, faults, touched = dict(columns), dict[int, Fault](), Touched()
    for name, treatment in treatments.items():
        if name not in found or not treatment.null_values or treatment.map:
            continue  # new names are not what counts as missing
        before = found[name].values
        if not (pa.types.is_integer(before.type) or pa.types.is_floating(before.type)):
            continue
        values = nulled(before, treatment.null_values)
        found[name] = CastColumn(values, found[name].faults)
        if treatment.drop_missing and values.null_count > before.null_count:
            fresh = pc.and_(pc.is_null(values), pc.is_valid(before))
            rows = np.flatnonzero(fresh.to_numpy(zero_copy_only=False))
            fault = Fault("missing", f"{name!r} is missing")
            late = [int(row) for row in rows if int(row) not in faults and int(row) not in rejected]
            touched[name, "dropped"] += len(late)
            faults |= dict.fromkeys(late, fault)
    return TidiedNumbers(found, faults, touched)


def _tidy_column(
    values: pa.Array, treatment: Treatment, name: str, faults: dict[int, Fault]
) -> tuple[pa.Array, dict[Step, int]]:
    counts: dict[Step, int] = {}
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if treatment.text and is_text(values.type):
        written = normalised(values, treatment.text)
        counts["rewritten"] = pc.sum(pc.not_equal(written, values)).as_py() or 0
        values = written
    if treatment.null_values:
        values = nulled(values, treatment.null_values)
    if treatment.map:
        try:
            renamed = mapped(values, treatment.map, others=treatment.unmapped)
        except pa.ArrowNotImplementedError as error:
            raise DataError(
                f"data.cleaning.{name}.map: the column holds {values.type}, expected texts or "
                "numbers."
            ) from error
        counts["mapped"] = renamed.num_mapped
        counts["unmapped"] = int(renamed.unmapped.sum())
        for row in np.flatnonzero(renamed.unmapped):
            reason = f"{name!r} is {_shown(values[row])}, which its map does not name"
            faults.setdefault(int(row), Fault("unmapped", reason))
        values = renamed.values
    if treatment.drop_missing:
        missing = np.flatnonzero(pc.is_null(values).to_numpy(zero_copy_only=False))
        fresh = [int(row) for row in missing if int(row) not in faults]
        counts["dropped"] = len(fresh)
        faults.update(dict.fromkeys(fresh, Fault("missing", f"{name!r} is missing")))
    return values, counts


def _shown(value: Any) -> str:
    text = repr(value.as_py())
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
