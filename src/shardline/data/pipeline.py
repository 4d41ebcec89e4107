"""The passes of `prepare`, each over pieces of bounded size that know nothing of each other.

Units of the source are typed and parked on disk, parked rows are dealt into runs sorted by side and
place, shards are merged from the runs. What a pass must know of all rows is counted by the pass
before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from shardline.data.cleaning.fitting import cleaned_layout
from shardline.data.cleaning.record import ColumnRecord, Touched
from shardline.data.dealing import Dealing, Dealt, Run, deal_piece
from shardline.data.division import Divider, Division, Piece
from shardline.data.first_pass import FirstPass, no_rows
from shardline.data.layout import dataset_schema
from shardline.data.manifest import Split
from shardline.data.origin import Origin
from shardline.data.passes import choose_map
from shardline.data.pieces import Pieces
from shardline.data.quarantine import QuarantineLog
from shardline.data.schema import Schema
from shardline.data.scratch import Scratch
from shardline.data.shards import ShardSize, ShardWriting, plan_shards, write_shard
from shardline.data.statistics.table import TableSketch
from shardline.errors import DataError
from shardline.progress import Progress
from shardline.spec.data import SPLITS, DataSpec, LabelsTable, SplitName
from shardline.store import Store

# Runs are cut fine enough that a shard reads little beyond its own rows.
BATCHES_PER_SHARD = 8
MAX_PLACE_BITS = 12


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
        return sum(int(run.counts(SPLITS.index(split)).sum()) for run in self.runs)


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
        self._map = choose_map(origin.num_bytes, is_everywhere=scratch is not None)
        self._scratch = scratch or Scratch(Store(f"file://{folder}"))
        self._kept = pieces
        self._parked = pieces.scratch if pieces else self._scratch

    def rows(self, size: ShardSize) -> Rows:
        """Read, type and deal all rows.

        Args:
            size: Of the shards that will be written; a task holds about two of them.

        Raises:
            DataError: The source cannot become a dataset.
        """
        typed = FirstPass(
            self._origin,
            self._data,
            folder=self._folder,
            parked=self._parked,
            kept=self._kept,
            progress=self._progress,
        ).rows()
        quarantine, num_read = typed.quarantine, typed.num_read
        self._check(quarantine, num_read)
        num_sampled_out = sum(each.num_sampled_out for each in typed.taken)
        if num_read == quarantine.count:
            raise no_rows(self._origin, quarantine, num_sampled_out=num_sampled_out)
        pieces = typed.pieces()
        division = Divider(
            self._data, typed.layout, pieces, scratch=self._parked, quarantine=quarantine
        ).division()
        num_bytes = sum(each.table_bytes for each in typed.taken)
        dealt = list(self._dealt(division, pieces, place_bits(num_bytes, size)))
        touched = Touched()
        for before in typed.taken:
            touched.update(before.touched)
        for after in dealt:
            touched.update(after.touched)
            quarantine.add(after.rejected)
        self._check(quarantine, num_read)
        labels = frozenset[str]().union(*(each.labels for each in dealt))
        final = cleaned_layout(typed.layout, division.cleaning)
        rows = Rows(
            schema=dataset_schema(self._data, final, tuple(sorted(labels))),
            runs=tuple(run for each in dealt for run in each.runs),
            quarantine=quarantine,
            num_read=num_read,
            num_sampled_out=num_sampled_out,
            num_bytes=sum(each.num_bytes for each in dealt),
            boundaries=division.split.moments,
            cleaning=division.cleaning.record(touched),
        )
        if not rows.num_kept:
            raise no_rows(self._origin, quarantine, num_sampled_out=num_sampled_out)
        self._check_splits(rows)
        return rows

    def written(
        self, rows: Rows, *, store: Store, folder: str, size: ShardSize
    ) -> tuple[dict[SplitName, Split], dict[SplitName, TableSketch]]:
        """Write every shard below `folder`; only a marker that names them makes them count.

        Returns:
            The splits, and for each that has rows what is known of them.
        """
        row_bytes = max(1.0, rows.num_bytes / rows.num_kept, rows.schema.image_bytes)
        writing = ShardWriting(
            schema=rows.schema,
            scratch=self._scratch,
            store=store,
            folder=folder,
            rows_per_group=size.rows_per_group(row_bytes),
            basic_statistics=self._data.statistics == "basic",
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

    def _check_splits(self, rows: Rows) -> None:
        rule = self._data.split
        if not rows.num_of("train"):
            way_out = (
                "raise data.split.fractions.train, choose a data.split.key with more values"
                if rule is None or not rule.boundaries
                else "set data.split.boundaries to later moments"
            )
            raise DataError(
                f"none of the {rows.num_kept} rows falls into the train split; {way_out}, or add "
                "rows."
            )
        if rule is None or rule.by != "stratified":
            return
        for name in self._splits:
            if not rows.num_of(name):
                raise DataError(
                    f"none of the {rows.num_kept} rows falls into the {name} split, because every "
                    f"value of the label {self._data.label.name!r} has too few of them to be "
                    "divided; choose data.split.by: hash, other fractions, or add rows."
                )

    def _dealt(self, division: Division, pieces: list[Piece], bits: int) -> Iterator[Dealt]:
        dealing = Dealing(
            division=replace(division, sides={}),
            place_bits=bits,
            parked=self._parked,
            scratch=self._scratch,
        )
        with_sides = [(piece, division.sides.get(piece.name)) for piece in pieces]
        every = self._map(partial(deal_piece, dealing), with_sides)
        for piece, dealt in zip(pieces, every, strict=True):
            if self._kept is None:  # not in the task, which may have to be repeated
                self._parked.delete(piece.name)
            yield dealt

    @property
    def _splits(self) -> tuple[SplitName, ...]:
        return self._data.split.names if self._data.split else ("train",)


def place_bits(num_bytes: int, size: ShardSize) -> int:
    """By how many leading bits of its rows' places so much data is cut."""
    shards = max(1, num_bytes // size.target_bytes)
    return min(MAX_PLACE_BITS, max(4, (BATCHES_PER_SHARD * shards).bit_length()))


def _carrying_files(data: DataSpec, origin: Origin) -> DataSpec:
    """The section with the column that names each image among the kept ones."""
    labels = origin.source
    if not isinstance(labels, LabelsTable) or labels.file in data.keep:
        return data
    return data.model_copy(update={"keep": (*data.keep, labels.file)})
