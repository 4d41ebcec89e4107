"""First pass, unit by unit: raw rows are read, counted by kind, typed and parked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from shardline.data.casting import CastColumn
from shardline.data.cleaning.record import Touched
from shardline.data.cleaning.tidying import tidy, tidy_numbers
from shardline.data.images import read_images
from shardline.data.labelled_images import LabelledImages, LabelRows
from shardline.data.quarantine import Rejected
from shardline.data.readers import read_tables
from shardline.data.rows import (
    ORIGIN_FILE,
    ORIGIN_ROW,
    RawBatch,
    Role,
    RowLayout,
    bounded,
    cast_columns,
    kept_mask,
    rejected_of,
    typed_table,
)
from shardline.data.schema import Column
from shardline.data.scratch import Scratch
from shardline.data.sources import SourceFiles
from shardline.data.split import sampled
from shardline.data.survey import Survey
from shardline.data.treatment import Treatment
from shardline.data.units import Unit
from shardline.errors import DataError
from shardline.spec.data import LabelsTable, Source

# So many rows of a unit may be something else than they were taken for, whatever their share.
MIN_MISFITS = 1000


@dataclass(frozen=True)
class Intake:
    """What every unit of a source is read for. Instances can be pickled."""

    files: SourceFiles
    """The source; which of its files to read is the unit's to say."""
    source: Source | LabelsTable
    required: tuple[tuple[str, Role], ...]
    """Columns that the spec names."""
    everything: bool
    """Whether all other columns are features."""
    layout: RowLayout
    """What the rows become."""
    is_guess: bool
    """Whether the layout may turn out to be another once all values are seen."""
    max_misfits: float
    """Share of a unit's rows that may not fit a guess; of more, no rows are parked."""
    surveyed: frozenset[str] | None
    """Columns whose values decide what the layout is; None for all of them."""
    image: Column | None
    """The feature, when the source is images in class folders."""
    labelled: LabelledImages | None
    """Images that the rows of a table name."""
    label: str
    sample: float
    """Share of the rows to take."""
    sample_key: str | None
    """Column whose value decides on that; None for the whole row."""
    treatments: Mapping[str, Treatment]
    """What raw values go through, by column."""
    scratch: Scratch

    def raw(self, unit: Unit | LabelRows) -> Iterator[RawBatch]:
        """The unit's rows as they are in the files."""
        if isinstance(unit, LabelRows):
            return self._joined(unit)
        files = self.files.part(unit.files)
        if self.image is not None:
            return read_images(files, self.image, label=self.label)
        return read_tables(
            files,
            self.source,
            self.required,
            everything=self.everything,
            part=unit.part,
            types=self.number_types,
        )

    @property
    def number_types(self) -> dict[str, Any]:
        """Types of the columns whose text nobody looks at: numbers that no rule touches."""
        if self.sample < 1:  # whose hashes are those of the text
            return {}
        return {
            column.name: column.arrow_type
            for column, role in self.layout.roles
            if role in ("feature", "label")
            and column.name not in self.treatments
            and not column.shape
            and ("int" in column.dtype or column.dtype in ("float32", "float64"))
        }

    def _joined(self, unit: LabelRows) -> Iterator[RawBatch]:
        if self.labelled is None:
            raise TypeError("rows of a table of labels, and no images to join them with")
        return self.labelled.joined(unit.batches)


@dataclass(frozen=True)
class Taken:
    """One unit after the first pass."""

    piece: str
    """Where its rows are parked; rows are numbered from 1 in each part of a file."""
    num_bytes: int
    """Size of that file."""
    table_bytes: int
    """Size of the rows in memory."""
    num_rows: int
    """Parked ones."""
    num_rejected: int
    rejected: tuple[Rejected, ...]
    """Empty once they are in the quarantine."""
    survey: Survey
    fits: bool
    """False if columns, or too many values, cannot become what the layout says."""
    num_sampled_out: int
    touched: Touched
    """Values that cleaning has changed so far."""

    @property
    def num_read(self) -> int:
        """Rows of the source that the unit accounts for."""
        return self.num_rows + self.num_rejected

    @property
    def num_records(self) -> int:
        """All rows of the files, those outside the sample included."""
        return self.num_read + self.num_sampled_out


def take_in(intake: Intake, named: tuple[str, Unit | LabelRows]) -> Taken:
    """Read a unit and park its typed rows.

    Args:
        intake: What for.
        named: What to call the piece, and what to read.

    Raises:
        DataError: A file cannot be read, or lacks a column.
    """
    piece, unit = named
    reading = _Reading(intake)
    num_bytes = intake.scratch.write(piece, reading.typed(unit))
    rejected = tuple(sorted(reading.rejected, key=lambda r: (r.file, r.row)))
    return Taken(
        piece=piece,
        num_bytes=num_bytes,
        table_bytes=reading.table_bytes,
        num_rows=reading.num_rows,
        num_rejected=len(rejected),
        rejected=rejected,
        survey=reading.survey,
        fits=reading.fits,
        num_sampled_out=reading.num_sampled_out,
        touched=reading.touched,
    )


class _Reading:
    """What comes up while a unit is read."""

    def __init__(self, intake: Intake) -> None:
        self.survey = Survey(typed=intake.source.format != "csv")
        self.rejected: list[Rejected] = []
        self.num_rows = 0
        self.table_bytes = 0
        self.num_sampled_out = 0
        self.touched = Touched()
        self.fits = bool(intake.layout.features)
        self._num_misfits = 0
        self._intake = intake

    def typed(self, unit: Unit | LabelRows) -> Iterator[pa.Table]:
        """The rows that can be kept, with their origin."""
        features = self._intake.layout.features
        for batch in (b for whole in self._intake.raw(unit) for b in bounded(whole, features)):
            self.rejected.extend(batch.rejected)
            table = self._typed(batch)
            if table is not None:
                self.num_rows += table.num_rows
                self.table_bytes += table.nbytes
                yield table

    def _typed(self, batch: RawBatch) -> pa.Table | None:
        if not batch.table.num_rows:
            self.survey.add(batch)
            return None
        raw = self._tidied(self._sampled(batch.table.combine_chunks()))
        batch = replace(batch, table=raw)
        layout = self._intake.layout
        columns, reasons = self._cast(raw) if self.fits else ({}, {})
        self.survey.add(batch, columns, only=self._intake.surveyed)
        self._num_misfits += len(reasons)
        if self._intake.is_guess and self._num_misfits > self._max_misfits:
            self.fits = False
        if not self.fits:
            return None
        numbers = tidy_numbers(columns, self._intake.treatments, rejected=reasons)
        self.touched.update(numbers.touched)
        table = typed_table(numbers.columns, layout)
        table = table.append_column(ORIGIN_FILE, raw[ORIGIN_FILE].cast(pa.string()))
        table = table.append_column(ORIGIN_ROW, raw[ORIGIN_ROW])
        reasons |= {row: fault.reason for row, fault in numbers.faults.items()}
        if reasons:
            rules = {row: fault.rule for row, fault in numbers.faults.items()}
            self.rejected.extend(rejected_of(raw, reasons, rules=rules))
            table = table.filter(kept_mask(raw.num_rows, reasons))
        return table if table.num_rows else None

    def _cast(self, raw: pa.Table) -> tuple[dict[str, CastColumn], dict[int, str]]:
        try:
            return cast_columns(raw, self._intake.layout)
        except DataError:
            if not self._intake.is_guess:
                raise
            self.fits = False
            return {}, {}

    @property
    def _max_misfits(self) -> float:
        return max(MIN_MISFITS, self._intake.max_misfits * self.survey.num_rows)

    def _sampled(self, raw: pa.Table) -> pa.Table:
        if self._intake.sample == 1:
            return raw
        values = raw.drop_columns([ORIGIN_FILE, ORIGIN_ROW])
        chosen = pa.array(sampled(values, self._intake.sample, self._intake.sample_key))
        taken = raw.filter(chosen)
        self.num_sampled_out += raw.num_rows - taken.num_rows
        return taken

    def _tidied(self, raw: pa.Table) -> pa.Table:
        """Raw values as the rules want them written; rows that a rule sets aside are gone."""
        if not self._intake.treatments:
            return raw
        tidied = tidy(raw, self._intake.treatments)
        self.touched.update(tidied.touched)
        if not tidied.faults:
            return tidied.table
        reasons = {row: fault.reason for row, fault in tidied.faults.items()}
        rules = {row: fault.rule for row, fault in tidied.faults.items()}
        self.rejected.extend(rejected_of(raw, reasons, rules=rules))
        return tidied.table.filter(kept_mask(raw.num_rows, reasons))
