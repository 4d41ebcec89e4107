"""A scoring job: what it reads, where its parts go, and the marker that completes it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardline.artifacts.manifest import ModelManifest
from shardline.data.manifest import load_dataset
from shardline.data.schema import Column
from shardline.data.sources import list_source
from shardline.errors import DataError
from shardline.scoring.inputs import DatasetInput, FilesInput, ScoreInput, Wanted
from shardline.spec import Spec, is_dataset_reference
from shardline.spec.data import SPLITS
from shardline.store import Marker, Store, dump_marker, open_store

MARKER_NAME = "score.json"
PARTS_FOLDER = "predictions"
"""Holds Parquet files and nothing else, so that anything that reads folders of them can read it."""
REJECTS_FOLDER = "_rejects"
VERSION_COLUMN = "model_version"


class ScoreManifest(Marker):
    """A completed job; every row read is scored or rejected."""

    input: str
    model: str
    model_version: int
    keep: tuple[str, ...]
    rows_read: int
    rows_scored: int
    rows_rejected: int
    parts: tuple[str, ...]
    """Names of the output's files."""
    created_unix_s: float


@dataclass(frozen=True)
class ScoreJob:
    """Everything that workers need. Instances can be pickled."""

    source: ScoreInput
    wanted: Wanted
    registry: Store
    """Where the model is."""
    model: ModelManifest
    output: Store
    """The folder of this job alone: another input, model version or `keep` is another folder."""
    batch_rows: int

    @property
    def output_schema(self) -> Any:
        """Arrow schema of the parts: kept columns, the model's outputs, the model's version."""
        kept = self.source.kept_types(self.wanted)
        fields = [pa.field(name, arrow_type) for name, arrow_type in kept.items()]
        fields += [pa.field(c.name, output_type(c)) for c in self.model.outputs]
        return pa.schema([*fields, pa.field(VERSION_COLUMN, pa.int64())])


def open_job(spec: Spec, *, store: Store, model: ModelManifest) -> ScoreJob:
    """The job that a spec describes.

    Raises:
        DataError: The input does not exist, or names of columns collide.
        NotFoundError: The dataset does not exist.
        StoreError: The output cannot be written.
    """
    source = _open_input(spec, store)
    wanted = Wanted(features=model.inputs, keep=spec.score.keep)
    _check_names(wanted, model)
    root = store
    if spec.score.output is not None:
        root = open_store(spec.score.output)
    prefix = "" if spec.score.output is not None else f"scores/{spec.name}/"
    folder = f"{prefix}v{model.version}-{_job_digest(source, wanted, model)[:12]}"
    return ScoreJob(
        source=source,
        wanted=wanted,
        registry=store,
        model=model,
        output=Store(root.uri_of(folder)),
        batch_rows=spec.score.batch,
    )


def part_key(unit_name: str) -> str:
    """Key of a unit's predictions."""
    return f"{PARTS_FOLDER}/{unit_name}.parquet"


def rejects_key(unit_name: str) -> str:
    """Key of a unit's rejected rows; absent when there are none."""
    return f"{REJECTS_FOLDER}/{unit_name}.jsonl"


def output_type(column: Column) -> Any:
    """The Arrow type of an output; one value per row is a plain column, whatever its shape."""
    return (column if _is_tensor(column) else column.model_copy(update={"shape": ()})).arrow_type


def _is_tensor(column: Column) -> bool:
    return any(size != 1 for size in column.shape)


def _open_input(spec: Spec, store: Store) -> ScoreInput:
    location = spec.score.input
    if not is_dataset_reference(location):
        if spec.data.source.format == "python":
            raise DataError(
                f"score.input is {location!r}, but files are read as data.source says, which is a "
                "Python function here; score dataset or dataset/SPLIT, or use a spec whose "
                "data.source has the format of these files."
            )
        source = spec.data.source.model_copy(update={"path": location})
        return FilesInput.listing(list_source(source, base=Path.cwd(), key="score.input"), source)
    _, _, wanted = location.partition("/")
    if wanted and wanted not in SPLITS:
        raise DataError(
            f"score.input {location!r} names no split; use dataset or one of "
            f"{', '.join(f'dataset/{split}' for split in SPLITS)}."
        )
    dataset = load_dataset(store, spec.name)
    splits = tuple(split for split in SPLITS if wanted in ("", split) and dataset.split(split).rows)
    if not splits:
        raise DataError(
            f"score.input {location!r}: dataset {dataset.name!r} has no such rows; its splits are "
            f"{', '.join(name for name, split in dataset.splits.items() if split.rows)}."
        )
    return DatasetInput(store=store, dataset=dataset, splits=splits)


def _check_names(wanted: Wanted, model: ModelManifest) -> None:
    answered = [*(column.name for column in model.outputs), VERSION_COLUMN]
    for name in _repeated([*wanted.keep, *answered]):
        raise DataError(
            f"score.keep names {name!r}, which the output has anyway ({', '.join(answered)}); "
            "leave it out."
        )


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _job_digest(source: ScoreInput, wanted: Wanted, model: ModelManifest) -> str:
    identity = [source.digest, wanted.keep, dump_marker(model).decode()]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()
