"""What was read of a source's files, kept in the store: a source that grows is read where it grew.

Under `pieces/` lie the typed rows of every unit of the source that was prepared last, compressed,
named by what they were read from and for. A later version takes the units that are there. Units
that no longer belong to the source are removed when its version is committed, so there is one copy
of the source at most, and what calls that were broken off had read.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from pydantic import BaseModel, ConfigDict, ValidationError

from shardline.data.cleaning.record import Touched
from shardline.data.intake import Intake, Taken
from shardline.data.labelled_images import LabelRows
from shardline.data.quarantine import Rejected
from shardline.data.scratch import Scratch
from shardline.data.sources import Content, SourceFiles
from shardline.data.survey import Evidence, Survey
from shardline.data.units import Unit
from shardline.errors import NotFoundError
from shardline.store import Store

# Part of every piece's name: raise it when the same unit would be typed otherwise.
FORMAT = 4
INDEX = "index.json"


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KnownFile(_Document):
    """A file whose content was read."""

    stamp: str
    """What the storage says of it; changes with the content."""
    sha256: str
    has_quotes: bool


class PieceIndex(_Document):
    """What was prepared last."""

    uri: str = ""
    files: dict[str, KnownFile] = {}
    pieces: list[str] = []


class PieceRecord(_Document):
    """One unit after the first pass, all but its rows."""

    num_bytes: int
    table_bytes: int
    num_rows: int
    rejected: list[tuple[str, str, int, str | None]]
    fits: bool
    num_sampled_out: int
    touched: list[tuple[str, str, int]]
    surveyed_rows: int
    columns: dict[str, tuple[list[tuple[str, tuple[int, ...], int]], int]]
    """Per column, how many values of each kind, and nulls."""


class Pieces:
    """The pieces of one dataset's source.

    Args:
        store: Where the dataset lies.
        dataset: Its name.
        uri: The source's location.
    """

    def __init__(self, store: Store, dataset: str, uri: str) -> None:
        self.scratch = Scratch(store, f"pieces/{dataset}/", compression="zstd")
        self._store = store
        self._uri = uri
        self._index = self._read_index()
        self._used: set[str] = set()

    def known(self) -> dict[tuple[str, str], Content]:
        """Contents of files by name and stamp, as far as they were read before."""
        if self._index.uri != self._uri:
            return {}
        return {
            (name, file.stamp): Content(file.sha256, file.has_quotes)
            for name, file in self._index.files.items()
        }

    def name_of(
        self, intake: Intake, unit: Unit | LabelRows, contents: Mapping[str, Content]
    ) -> str:
        """What a unit's rows are called when they are read for this intake."""
        named = None if intake.everything else sorted(name for name, _ in intake.required)
        identity = [
            FORMAT,
            *unit.identity(contents),
            intake.source.model_dump(mode="json", exclude={"path"}),
            [named, intake.label],
            [repr(column) for column in intake.layout.features],
            [repr(intake.layout.label), intake.layout.carried, intake.layout.key],
            sorted(intake.layout.nullable),
            [intake.sample, intake.sample_key, repr(intake.image)],
            {name: repr(treatment) for name, treatment in intake.treatments.items()},
        ]
        canonical = json.dumps(identity, sort_keys=True).encode()
        return f"{hashlib.sha256(canonical).hexdigest()[:32]}.arrow"

    def find(self, name: str) -> Taken | None:
        """The unit of that name, None if it has to be read."""
        self._used.add(name)
        if _record_name(name) not in self._sizes:
            return None
        try:
            record = PieceRecord.model_validate_json(self._store.read(self._record_key(name)))
        except (NotFoundError, ValidationError):
            return None
        # A machine that loses power may keep the record and not the rows.
        return _taken(name, record) if record.num_bytes == self._sizes.get(name, 0) else None

    def keep(self, taken: Taken) -> None:
        """Record a unit whose rows are parked in `scratch`; only this makes it count."""
        record = _record(taken).model_dump_json().encode()
        self._store.write(self._record_key(taken.piece), record)
        self._sizes |= {_record_name(taken.piece): len(record), taken.piece: taken.num_bytes}

    def keep_surveys(self, taken: Iterable[Taken]) -> None:
        """Record what is known of units that were taken for something else, without their rows."""
        for each in taken:
            self.keep(replace(each, fits=False, num_rows=0, num_bytes=0, table_bytes=0))
            self.scratch.delete(each.piece)

    def commit(self, files: SourceFiles, contents: Mapping[str, Content]) -> None:
        """Remember what the source consists of now, and remove what no longer belongs to it."""
        index = PieceIndex(
            uri=self._uri,
            files={
                file.name: KnownFile(
                    stamp=file.stamp,
                    sha256=contents[file.name].sha256,
                    has_quotes=contents[file.name].has_quotes,
                )
                for file in files.files
            },
            pieces=sorted(self._used),
        )
        self._store.write(self.scratch.folder + INDEX, index.model_dump_json().encode())
        self._delete(set(self._index.pieces) - self._used)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """Size of each file that was there when it was first asked for, or kept since."""
        start = len(self.scratch.folder)
        return {entry.key[start:]: entry.size for entry in self._store.scan(self.scratch.folder)}

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            self._store.delete(self._record_key(name))
            self.scratch.delete(name)

    def _read_index(self) -> PieceIndex:
        try:
            return PieceIndex.model_validate_json(self._store.read(self.scratch.folder + INDEX))
        except (NotFoundError, ValidationError):
            return PieceIndex()

    def _record_key(self, name: str) -> str:
        return self.scratch.folder + _record_name(name)


def _record_name(piece: str) -> str:
    return piece.removesuffix(".arrow") + ".json"


def _record(taken: Taken) -> PieceRecord:
    return PieceRecord(
        num_bytes=taken.num_bytes,
        table_bytes=taken.table_bytes,
        num_rows=taken.num_rows,
        rejected=[(r.reason, r.file, r.row, r.rule) for r in taken.rejected],
        fits=taken.fits,
        num_sampled_out=taken.num_sampled_out,
        touched=[(column, step, count) for (column, step), count in taken.touched.items()],
        surveyed_rows=taken.survey.num_rows,
        columns={
            name: ([(d, shape, n) for (d, shape), n in found.kinds.items()], found.nulls)
            for name, found in taken.survey.columns.items()
        },
    )


def _taken(name: str, record: PieceRecord) -> Taken:
    survey = Survey(typed=True, num_rows=record.surveyed_rows)
    for column, (kinds, nulls) in record.columns.items():
        evidence = survey.columns.setdefault(column, Evidence(nulls=nulls))
        for dtype, shape, count in kinds:
            evidence.kinds[dtype, shape] += count
    touched = Touched()
    for column, step, count in record.touched:
        touched[column, step] += count  # type: ignore[index]
    return Taken(
        piece=name,
        num_bytes=record.num_bytes,
        table_bytes=record.table_bytes,
        num_rows=record.num_rows,
        num_rejected=len(record.rejected),
        rejected=tuple(Rejected(*each) for each in record.rejected),
        survey=survey,
        fits=record.fits,
        num_sampled_out=record.num_sampled_out,
        touched=touched,
    )
