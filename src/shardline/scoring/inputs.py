"""What is scored: a prepared dataset or raw files, each listed, planned and read by unit."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shardline.data.cleaning.raw_rows import cast_in_parts, raw_names
from shardline.data.columnar import opened_parquet, sound_batches
from shardline.data.elements import plain
from shardline.data.images import PATH_COLUMN
from shardline.data.manifest import DatasetManifest, Shard
from shardline.data.readers import read_rows, read_tables
from shardline.data.reading import shard_table
from shardline.data.rows import Batch, RawBatch, RowLayout, with_origin
from shardline.data.schema import Column, Label, Schema
from shardline.data.sources import SourceFiles
from shardline.errors import DataError
from shardline.scoring.units import InputFile, Unit, file_units, image_units, parquet_units
from shardline.spec.data import Source, SplitName
from shardline.store import Store

BATCH_ROWS = 16_384
NUM_FOOTER_READERS = 16


@dataclass(frozen=True)
class Wanted:
    """The columns that a job reads."""

    features: tuple[Column, ...]
    """What the model takes."""
    keep: tuple[str, ...]
    """What is carried into the output."""

    @property
    def names(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys((*(column.name for column in self.features), *self.keep)))

    @property
    def raw_names(self) -> list[str]:
        """What raw rows must have for them."""
        return list(dict.fromkeys((*raw_names(self.features), *self.keep)))


class ScoreInput(Protocol):
    """Rows to score. Instances can be pickled."""

    @property
    def uri(self) -> str:
        """Where the rows are."""

    @property
    def digest(self) -> str:
        """Identifies the content, found without reading rows."""

    def plan(self, model: str) -> list[Unit]:
        """Units that hold every row once; rows are not read."""

    def check(self, wanted: Wanted) -> None:
        """Refuse columns that are not there (DataError)."""

    def kept_types(self, wanted: Wanted) -> dict[str, Any]:
        """The Arrow type of each kept column."""

    def read(self, unit: Unit, wanted: Wanted) -> Iterator[Batch]:
        """The unit's rows in pieces, features and kept columns in their final types."""


@dataclass(frozen=True)
class DatasetInput:
    """Some splits of a prepared dataset."""

    store: Store
    dataset: DatasetManifest
    splits: tuple[SplitName, ...]

    @property
    def uri(self) -> str:
        """The dataset's folder."""
        return self.store.uri_of(self.dataset.folder)

    @property
    def digest(self) -> str:
        """Over the shards' hashes."""
        return _digest(self._files)

    def plan(self, model: str) -> list[Unit]:
        """Runs of row groups, as the manifest lists them."""
        return [
            unit
            for position, (file, shard) in enumerate(zip(self._files, self._shards, strict=True))
            for unit in parquet_units(position, file, shard.row_groups, model=model)
        ]

    def check(self, wanted: Wanted) -> None:
        """Kept columns exist and features are what the model takes."""
        types = self._types
        _require(wanted.keep, types, f"dataset {self.dataset.name!r}")
        for column in wanted.features:
            if types.get(column.name) != column.arrow_type:
                raise DataError(
                    f"the model takes {column.name!r} as {column.arrow_type}, dataset "
                    f"{self.dataset.name!r} has {types.get(column.name, 'no such column')}; "
                    "score it with a model that was trained on this dataset."
                )

    def kept_types(self, wanted: Wanted) -> dict[str, Any]:
        """As the shards have them."""
        return {name: self._types[name] for name in wanted.keep}

    def read(self, unit: Unit, wanted: Wanted) -> Iterator[Batch]:
        """One row group at a time; prepared rows are sound."""
        shard = self._shards[unit.first_file]
        for group in unit.row_groups or ():
            table = shard_table(
                self.store, self.dataset, shard, columns=wanted.names, row_groups=[group]
            )
            yield Batch(table, ())

    @property
    def _shards(self) -> list[Shard]:
        return [shard for split in self.splits for shard in self.dataset.split(split).shards]

    @property
    def _files(self) -> list[InputFile]:
        return [InputFile(shard.key, shard.sha256) for shard in self._shards]

    @property
    def _types(self) -> dict[str, Any]:
        schema = self.dataset.columns
        typed = {column.name: column.arrow_type for column in (*schema.features, schema.label)}
        return typed | dict.fromkeys(schema.carried, pa.string())


@dataclass(frozen=True)
class FilesInput:
    """Raw files, read against the model's schema."""

    files: SourceFiles
    source: Source
    listed: tuple[InputFile, ...]

    @classmethod
    def listing(cls, files: SourceFiles, source: Source) -> "FilesInput":
        """Files with the fingerprints that the storage knows, so that none is read.

        Raises:
            DataError: A file is gone since it was listed.
        """
        known = _fingerprints(files)
        for file in files.files:
            if file.key not in known:
                raise DataError(f"{files.store.uri_of(file.key)} is gone; score again.")
        return cls(files, source, tuple(InputFile(f.name, known[f.key]) for f in files.files))

    @property
    def uri(self) -> str:
        """The location as given."""
        return self.files.uri

    @property
    def digest(self) -> str:
        """Over the files' fingerprints and how they are read."""
        options = self.source.model_dump(mode="json", exclude={"path"})
        return _digest([*self.listed, InputFile("options", json.dumps(options, sort_keys=True))])

    def plan(self, model: str) -> list[Unit]:
        """Row groups of Parquet files (whose footers are read), chunks of images, else files."""
        if self.source.format == "images":
            return list(image_units(self.listed, model=model))
        if self.source.format != "parquet":
            return list(file_units(self.listed, model=model))
        with ThreadPoolExecutor(NUM_FOOTER_READERS) as pool:
            footers = list(pool.map(self._row_groups, range(len(self.listed))))
        return [
            unit
            for position, (file, groups) in enumerate(zip(self.listed, footers, strict=True))
            for unit in parquet_units(position, file, groups, model=model)
        ]

    def check(self, wanted: Wanted) -> None:
        """Look into the first file's header; images have a path and nothing else."""
        features = [column.name for column in wanted.features]
        if self.source.format == "images":
            if len(features) != 1:
                raise DataError(
                    f"the model takes {', '.join(features)}; images in {self.uri} give one input."
                )
            _require(wanted.keep, [*features, PATH_COLUMN], self.uri)
            return
        first = next(read_tables(self._part(0, 1), self.source, []), None)
        if first is not None:
            _require(wanted.raw_names, first.available, self.listed[0].name)

    def kept_types(self, wanted: Wanted) -> dict[str, Any]:
        """Text, but for kept features."""
        features = {column.name: column.arrow_type for column in wanted.features}
        return {name: features.get(name, pa.string()) for name in wanted.keep}

    def read(self, unit: Unit, wanted: Wanted) -> Iterator[Batch]:
        """Rows that do not fit the schema come as rejected ones."""
        if unit.row_groups is not None:
            return self._read_row_groups(unit, wanted)
        schema = Schema(features=wanted.features, label=_NO_LABEL)
        part = self._part(unit.first_file, unit.num_files)
        return read_rows(part, self.source, schema, keep=wanted.keep)

    def _read_row_groups(self, unit: Unit, wanted: Wanted) -> Iterator[Batch]:
        file = self.files.files[unit.first_file]
        features = {column.name for column in wanted.features}
        carried = tuple(name for name in wanted.keep if name not in features)
        layout = RowLayout(features=wanted.features, carried=carried)
        first = unit.first_row + 1
        with self.files.opened(file, seekable=True) as stream:
            batches = sound_batches(
                opened_parquet(stream), unit.row_groups or (), wanted.raw_names, most=BATCH_ROWS
            )
            for batch in batches:
                columns = {name: plain(batch.column(name)) for name in batch.schema.names}
                rows = np.arange(first, first + batch.num_rows)
                first += batch.num_rows
                raw = RawBatch(with_origin(columns, file.name, rows), tuple(columns))
                yield from cast_in_parts(raw, layout)

    def _row_groups(self, position: int) -> list[int]:
        with self.files.opened(self.files.files[position], seekable=True) as stream:
            metadata = pq.ParquetFile(stream).metadata
        return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def _part(self, first: int, count: int) -> SourceFiles:
        files = self.files.files[first : first + count]
        return SourceFiles(self.files.uri, self.files.store, files)


# Readers take a whole schema and leave its label alone.
_NO_LABEL = Label(name="", dtype="int64")


def _fingerprints(files: SourceFiles) -> dict[str, str]:
    keys = [file.key for file in files.files]
    if len(keys) == 1:
        # Listing a local folder for one file may walk through a whole home directory.
        filesystem, root = files.store.filesystem()
        with files.store.explaining(keys[0]):
            info = filesystem.get_file_info(f"{root}/{keys[0]}")
        return {keys[0]: f"{info.size}-{info.mtime_ns}"}
    prefix = commonprefix(keys)  # noqa: RUF071  keys are compared by characters when listed, too
    return {entry.key: entry.fingerprint for entry in files.store.scan(prefix)}


def _digest(files: Sequence[InputFile]) -> str:
    lines = "".join(f"{file.fingerprint}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _require(names: Sequence[str], available: Any, where: str) -> None:
    for name in names:
        if name not in available:
            raise DataError(
                f"{where} has no column {name!r}; it has {', '.join(available)}: fix score.keep, "
                "or score.input if the model needs the column."
            )
