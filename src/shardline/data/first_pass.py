"""First pass over all units: every row in the type that its column has throughout the source.

What the columns are is known once all values have been seen. The first rows say what they look
like; if that turns out to be wrong, all units are typed again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from shardline.data.cleaning.fitting import raw_treatments
from shardline.data.division import Piece
from shardline.data.images import IMAGE_FEATURE, infer_image_column
from shardline.data.intake import Intake, Taken, take_in
from shardline.data.labelled_images import LabelledImages, LabelRows
from shardline.data.layout import (
    declared_image,
    image_layout,
    labelled_image,
    required_columns,
    surveyed_columns,
    table_layout,
)
from shardline.data.origin import Origin
from shardline.data.passes import choose_map, map_in_threads
from shardline.data.pieces import Pieces
from shardline.data.quarantine import QuarantineLog
from shardline.data.readers import read_tables
from shardline.data.rows import RawBatch, Role, RowLayout
from shardline.data.schema import Column
from shardline.data.scratch import Scratch
from shardline.data.sources import SourceFile
from shardline.data.survey import Survey
from shardline.data.units import Unit
from shardline.errors import DataError
from shardline.progress import Progress
from shardline.spec.data import DataSpec, LabelsTable

GUESS_ROWS = 2048


@dataclass(frozen=True)
class TypedRows:
    """All rows of a source that could be typed, parked."""

    layout: RowLayout
    units: Sequence[Unit | LabelRows]
    taken: list[Taken]
    """What came of each unit."""
    quarantine: QuarantineLog
    """The other rows."""

    @property
    def num_read(self) -> int:
        """Rows of the source, images that no label was given for included."""
        return sum(each.num_rows for each in self.taken) + self.quarantine.count

    def pieces(self) -> list[Piece]:
        """The parked rows of units that have any."""
        pieces, num_before, first_row = [], 0, 0
        for unit, each in zip(self.units, self.taken, strict=True):
            num_before = num_before if unit.continues else 0
            if each.num_rows:
                pieces.append(Piece(each.piece, num_before, first_row, each.num_rows))
            num_before += each.num_records
            first_row += each.num_rows
        return pieces


class FirstPass:
    """A source to be typed.

    Args:
        origin: The source.
        data: The spec's section.
        folder: On local disk, for rows that are set aside.
        parked: Where typed rows are parked.
        kept: What was read before; None reads everything and keeps nothing.
        progress: Told the rows read so far.
    """

    def __init__(
        self,
        origin: Origin,
        data: DataSpec,
        *,
        folder: Path,
        parked: Scratch,
        kept: Pieces | None,
        progress: Progress,
    ) -> None:
        self._origin = origin
        self._data = data
        self._folder = folder
        self._parked = parked
        self._kept = kept
        self._progress = progress
        self._map = choose_map(origin.num_bytes, is_everywhere=origin.is_everywhere)
        self._num_passes = 0

    def rows(self) -> TypedRows:
        """Every unit, typed by what the source's values are.

        Raises:
            DataError: The source cannot become a dataset.
        """
        if self._origin.source.format == "images":
            layout = image_layout(self._data, self._image)
            return TypedRows(layout, self._units, *self._pass(layout))
        guess = self._guessed_layout()
        taken, quarantine = self._pass(guess, is_guess=True)
        survey = Survey(typed=self._origin.has_types)
        for each in taken:
            survey.merge(each.survey)
        if not survey.num_rows:
            num_sampled_out = sum(each.num_sampled_out for each in taken)
            raise no_rows(self._origin, quarantine, num_sampled_out=num_sampled_out)
        layout = table_layout(self._data, survey)
        if layout != guess or not all(each.fits for each in taken):
            guessed = {each.piece: each for each in taken}
            taken, quarantine = self._pass(layout)
            for each in taken:
                guessed.pop(each.piece, None)
            if self._kept is not None:  # else they lay where the others lie now
                self._kept.keep_surveys(guessed.values())
        return TypedRows(layout, self._units, taken, quarantine)

    def _guessed_layout(self) -> RowLayout:
        """What the first rows look like; nothing but a shortcut depends on it."""
        sample = Survey(typed=self._origin.has_types)
        intake = self._intake(RowLayout(()), is_guess=True)
        for batch in (batch for unit in self._units for batch in intake.raw(unit)):
            few = replace(batch, table=batch.table.slice(0, GUESS_ROWS))
            sample.add(few, only=surveyed_columns(self._data))
            if sample.num_rows:
                break
        for batch in self._labels:  # a run of images is short, and their labels are there anyway
            if sample.num_rows < GUESS_ROWS:
                sample.add(batch, only=surveyed_columns(self._data))
        try:
            return table_layout(self._data, sample)
        except DataError:  # of these rows; all of them may say something else
            return RowLayout(())

    def _pass(
        self, layout: RowLayout, *, is_guess: bool = False
    ) -> tuple[list[Taken], QuarantineLog]:
        intake = self._intake(layout, is_guess=is_guess)
        quarantine = QuarantineLog(self._folder / f"quarantine-{self._num_passes}.jsonl")
        self._num_passes += 1
        total = len(self._origin.files.files) if intake.image else None
        taken: list[Taken] = []
        num_read = num_before = 0
        for unit, each in zip(self._units, self._each_taken(intake), strict=True):
            num_before = num_before if unit.continues else 0
            quarantine.add([replace(r, row=r.row + num_before) for r in each.rejected])
            taken.append(replace(each, rejected=(), num_rejected=len(each.rejected)))
            num_before += each.num_records
            num_read += each.num_read
            self._progress.update(done=num_read, total=total)
        if self._labelled is not None:
            quarantine.add(self._labelled.unnamed(self._labels))
        return taken, quarantine

    def _each_taken(self, intake: Intake) -> Iterator[Taken]:
        """Every unit, read or found."""
        if self._kept is None:
            names = [f"pieces/{number:06d}.arrow" for number in range(len(self._units))]
            yield from self._map(
                partial(take_in, intake), list(zip(names, self._units, strict=True))
            )
            return
        names = [self._kept.name_of(intake, u, self._origin.contents) for u in self._units]
        kept = [self._kept.find(name) for name in names]
        # A piece that did not fit a guess has no rows.
        fitting = [t if t and (t.fits or intake.is_guess) else None for t in kept]
        found = dict(zip(names, fitting, strict=True))
        missing = [
            (name, unit)
            for name, unit in zip(names, self._units, strict=True)
            if found[name] is None
        ]
        read = self._map(partial(take_in, intake), missing)
        for name in names:
            known = found[name]
            if known is None:
                known = next(read)
                if known.fits:
                    self._kept.keep(known)
                else:
                    self._kept.keep_surveys([known])
            yield known

    def _intake(self, layout: RowLayout, *, is_guess: bool) -> Intake:
        return Intake(
            files=self._origin.files.part(()),
            source=self._origin.source,
            required=tuple(self._required),
            everything=self._data.features is None,
            layout=layout,
            is_guess=is_guess,
            max_misfits=self._data.max_quarantined,
            surveyed=surveyed_columns(self._data),
            image=self._image if self._origin.source.format == "images" else None,
            labelled=self._labelled,
            label=self._data.label.name,
            sample=self._data.sample,
            sample_key=self._data.split.key if self._data.split else None,
            treatments={
                name: each
                for name, each in raw_treatments(self._data).items()
                if each.text or each.null_values or each.map or each.drop_missing
            },
            scratch=self._parked,
        )

    @cached_property
    def _units(self) -> Sequence[Unit | LabelRows]:
        if self._labelled is None:
            return self._origin.units()
        tables = list(map_in_threads(self._read_labels, self._origin.files.files))
        digests = {name: each.sha256 for name, each in self._origin.bulk_contents.items()}
        return self._labelled.cut(tables, digests)

    def _read_labels(self, file: SourceFile) -> list[RawBatch]:
        files, source = self._origin.files.part([file]), self._origin.source
        everything = self._data.features is None
        return list(read_tables(files, source, self._required, everything=everything))

    @property
    def _labels(self) -> Iterator[RawBatch]:
        """Rows of tables of labels, their images aside; none of other sources."""
        return (b for unit in self._units if isinstance(unit, LabelRows) for b in unit.batches)

    @cached_property
    def _labelled(self) -> LabelledImages | None:
        images, labels = self._origin.images, self._origin.source
        if images is None or not isinstance(labels, LabelsTable):
            return None
        return LabelledImages(images, self._image, labels.file)

    @property
    def _required(self) -> list[tuple[str, Role]]:
        """Columns that tables must have."""
        required = required_columns(self._data)
        if self._labelled is None:
            return required
        return [each for each in required if each[0] != self._image.name]

    @cached_property
    def _image(self) -> Column:
        """The image feature, as declared or as the first image that decodes has it."""
        if self._origin.images is not None:
            column = labelled_image(self._data)
        else:
            column = declared_image(self._data)
        files = self._origin.images or self._origin.files
        return column or infer_image_column(files, IMAGE_FEATURE)


def no_rows(origin: Origin, quarantine: QuarantineLog, *, num_sampled_out: int) -> DataError:
    """What to say of a source of which nothing is left."""
    uri = origin.uri
    if not quarantine.count and num_sampled_out:
        return DataError(
            f"data.sample takes none of the {num_sampled_out} rows in {uri}; raise it."
        )
    if not quarantine.count:
        return DataError(f"data.source.path {uri} holds no rows; check that it is complete.")
    if not quarantine.first:
        by_rule = ", ".join(f"{rule} {count}" for rule, count in quarantine.by_rule.items())
        return DataError(
            f"none of the {quarantine.count} rows in {uri} is left, for the rules of the spec set "
            f"them aside ({by_rule}); change the rules or the source."
        )
    first = quarantine.first[0]
    return DataError(
        f"none of the {quarantine.count} rows in {uri} can be used; the first: "
        f"{first.file} row {first.row}: {first.reason}."
    )
