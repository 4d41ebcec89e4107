"""The passes of `prepare`, each over pieces of bounded size that know nothing of each other.

Units of the source are typed and parked on disk, parked rows are dealt into runs sorted by side and
place, shards are merged from the runs. What a pass must know of all rows is counted by the pass
before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from shardline.data.cleaning.fitting import cleaned_layout, raw_treatments
from shardline.data.cleaning.record import ColumnRecord, Touched
from shardline.data.dealing import Dealing, Run, deal_piece
from shardline.data.division import Divider, Piece
from shardline.data.images import IMAGE_FEATURE, infer_image_column
from shardline.data.intake import Intake, Taken, take_in
from shardline.data.labelled_images import LabelledImages
from shardline.data.layout import (
    dataset_schema,
    declared_image,
    image_layout,
    labelled_image,
    required_columns,
    surveyed_columns,
    table_layout,
)
from shardline.data.manifest import Split
from shardline.data.origin import Origin
from shardline.data.passes import choose_map
from shardline.data.pieces import Pieces
from shardline.data.quarantine import QuarantineLog
from shardline.data.rows import RowLayout
from shardline.data.schema import Column, Schema
from shardline.data.scratch import Scratch
from shardline.data.shards import ShardSize, ShardWriting, plan_shards, write_shard
from shardline.data.statistics.table import TableSketch
from shardline.data.survey import Survey
from shardline.errors import DataError
from shardline.progress import Progress
from shardline.spec.data import SPLITS, DataSpec, LabelsTable, SplitName
from shardline.store import Store

# Runs are cut fine enough that a shard reads little beyond its own rows.
BATCHES_PER_SHARD = 8
MAX_PLACE_BITS = 12
GUESS_ROWS = 2048


@dataclass(frozen=True)
class Rows:
    """All rows of a source, dealt and on disk."""

    schema: Schema
    runs: tuple[Run, ...]
    quarantine: QuarantineLog
    num_read: int
    """Rows of the source."""
    num_sampled_out: int
    num_bytes: int
    """Size of all kept values."""
    boundaries: dict[SplitName, str | float] | None
    """By time: the first moment of every later split."""
    cleaning: dict[str, ColumnRecord]
    """What cleaning did, by column."""

    @property
    def num_kept(self) -> int:
        """Rows that go into the dataset."""
        return self.num_read - self.quarantine.count

    def num_of(self, split: SplitName) -> int:
        """Kept rows of a split."""
        return sum(int(run.counts[SPLITS.index(split)].sum()) for run in self.runs)


class Pipeline:
    """One source on its way.

    Args:
        origin: The source.
        data: The spec's section.
        folder: On local disk, empty; the caller removes it.
        progress: Told the rows read so far.
        pieces: What was read before; None reads everything and keeps nothing.
        scratch: Where rows are parked, when tasks on other machines cannot reach the folder.
    """

    def __init__(
        self,
        origin: Origin,
        data: DataSpec,
        *,
        folder: Path,
        progress: Progress,
        pieces: Pieces | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        self._origin = origin
        self._data = _carrying_files(data, origin)
        self._folder = folder
        self._progress = progress
        self._map = choose_map(origin.num_bytes)
        self._scratch = scratch or Scratch(Store(f"file://{folder}"))
        self._kept = pieces
        self._parked = pieces.scratch if pieces else self._scratch
        self._units = origin.units()
        self._num_passes = 0

    def rows(self) -> Rows:
        """Read, type and deal all rows.

        Raises:
            DataError: The source cannot become a dataset.
        """
        layout, taken, quarantine = self._taken()
        # Images that no label was given for count, too.
        num_read = sum(each.num_rows for each in taken) + quarantine.count
        self._check(quarantine, num_read)
        if num_read == quarantine.count:
            raise self._no_rows(quarantine)
        pieces = self._pieces(taken)
        division = Divider(
            self._data, layout, pieces, scratch=self._parked, quarantine=quarantine
        ).division()
        dealing = Dealing(
            division=division,
            place_bits=self._place_bits,
            parked=self._parked,
            scratch=self._scratch,
            keeps_pieces=self._kept is not None,
        )
        dealt = list(self._map(partial(deal_piece, dealing), pieces))
        touched = Touched()
        for before in taken:
            touched.update(before.touched)
        for after in dealt:
            touched.update(after.touched)
            quarantine.add(after.rejected)
        self._check(quarantine, num_read)
        labels = frozenset[str]().union(*(each.labels for each in dealt))
        final = cleaned_layout(layout, division.cleaning)
        rows = Rows(
            schema=dataset_schema(self._data, final, tuple(sorted(labels))),
            runs=tuple(run for each in dealt for run in each.runs),
            quarantine=quarantine,
            num_read=num_read,
            num_sampled_out=sum(each.num_sampled_out for each in taken),
            num_bytes=sum(each.num_bytes for each in dealt),
            boundaries=division.split.moments,
            cleaning=division.cleaning.record(touched),
        )
        if not rows.num_of("train"):
            raise DataError(
                f"none of the {rows.num_kept} rows falls into the train split; raise "
                "data.split.fractions.train, choose a data.split.key with more values, or add rows."
            )
        return rows

    def written(
        self, rows: Rows, *, store: Store, folder: str, size: ShardSize
    ) -> tuple[dict[SplitName, Split], dict[SplitName, TableSketch]]:
        """Write every shard below `folder`; only a marker that names them makes them count.

        Returns:
            The splits, and for each that has rows what is known of them.
        """
        row_bytes = max(1.0, rows.num_bytes / rows.num_kept)
        writing = ShardWriting(
            schema=rows.schema,
            scratch=self._scratch,
            store=store,
            folder=folder,
            rows_per_group=size.rows_per_group(row_bytes),
        )
        splits: dict[SplitName, Split] = {}
        sketches: dict[SplitName, TableSketch] = {}
        for name in self._splits:
            plans = plan_shards(rows.runs, name, rows_per_shard=size.rows_per_shard(row_bytes))
            shards = []
            for written in self._map(partial(write_shard, writing), plans):
                shards.append(written.shard)
                if name in sketches:
                    sketches[name].merge(written.sketch)
                else:
                    sketches[name] = written.sketch
            splits[name] = Split(rows=sum(shard.rows for shard in shards), shards=tuple(shards))
        return splits, sketches

    def _check(self, quarantine: QuarantineLog, num_read: int) -> None:
        if self._data.mismatch == "stop":
            quarantine.check_none()
        quarantine.check_share(rows_read=num_read, max_share=self._data.max_quarantined)

    @property
    def _splits(self) -> tuple[SplitName, ...]:
        return self._data.split.names if self._data.split else ("train",)

    def _pieces(self, taken: list[Taken]) -> list[Piece]:
        pieces, num_before, first_row = [], 0, 0
        for unit, each in zip(self._units, taken, strict=True):
            num_before = num_before if unit.continues else 0
            if each.num_rows:
                pieces.append(Piece(each.piece, num_before, first_row, each.num_rows))
            num_before += each.num_records
            first_row += each.num_rows
        return pieces

    @property
    def _place_bits(self) -> int:
        num_bytes = sum(file.size for file in self._origin.files.files)
        shards = max(1, num_bytes // ShardSize().target_bytes)
        return min(MAX_PLACE_BITS, max(4, (BATCHES_PER_SHARD * shards).bit_length()))

    def _taken(self) -> tuple[RowLayout, list[Taken], QuarantineLog]:
        """Every unit, typed by what the source's values are."""
        if self._origin.source.format == "images":
            layout = image_layout(self._data, self._image)
            return (layout, *self._pass(layout))
        guess = self._guessed_layout()
        taken, quarantine = self._pass(guess, is_guess=True)
        survey = Survey(typed=self._origin.has_types)
        for each in taken:
            survey.merge(each.survey)
        if not survey.num_rows:
            raise self._no_rows(quarantine)
        layout = table_layout(self._data, survey)
        if layout != guess or not all(each.fits for each in taken):
            taken, quarantine = self._pass(layout)
        return layout, taken, quarantine

    def _guessed_layout(self) -> RowLayout:
        """What the first rows look like; nothing but a shortcut depends on it."""
        sample = Survey(typed=self._origin.has_types)
        intake = self._intake(RowLayout(()), is_guess=True)
        for batch in (batch for unit in self._units for batch in intake.raw(unit)):
            few = replace(batch, table=batch.table.slice(0, GUESS_ROWS))
            sample.add(few, only=surveyed_columns(self._data))
            if sample.num_rows:
                break
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
        if intake.labelled is not None:
            named = frozenset[str]().union(*(each.named for each in taken))
            quarantine.add(intake.labelled.unnamed(named))
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
                self._kept.keep(known)
            yield known

    def _intake(self, layout: RowLayout, *, is_guess: bool) -> Intake:
        images, labels = self._origin.images, self._origin.source
        labelled = None
        required = required_columns(self._data)
        if images is not None and isinstance(labels, LabelsTable):
            labelled = LabelledImages(images, self._image, labels.file)
            required = [each for each in required if each[0] != self._image.name]
        return Intake(
            files=self._origin.files,
            source=self._origin.source,
            required=tuple(required),
            everything=self._data.features is None,
            layout=layout,
            is_guess=is_guess,
            surveyed=surveyed_columns(self._data),
            image=self._image if self._origin.source.format == "images" else None,
            labelled=labelled,
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
    def _image(self) -> Column:
        """The image feature, as declared or as the first image that decodes has it."""
        if self._origin.images is not None:
            column = labelled_image(self._data)
        else:
            column = declared_image(self._data)
        files = self._origin.images or self._origin.files
        return column or infer_image_column(files, IMAGE_FEATURE)

    def _no_rows(self, quarantine: QuarantineLog) -> DataError:
        uri = self._origin.uri
        if not quarantine.count:
            return DataError(f"data.source.path {uri} holds no rows; check that it is complete.")
        first = quarantine.first[0]
        return DataError(
            f"none of the {quarantine.count} rows in {uri} can be used; the first: "
            f"{first.file} row {first.row}: {first.reason}."
        )


def _carrying_files(data: DataSpec, origin: Origin) -> DataSpec:
    """The section with the column that names each image among the kept ones."""
    labels = origin.source
    if not isinstance(labels, LabelsTable) or labels.file in data.keep:
        return data
    return data.model_copy(update={"keep": (*data.keep, labels.file)})
