"""Raw source to dataset: read, type, split, deal, write; the marker comes last.

Three passes, each over pieces of bounded size that know nothing of each other: units of the source
are typed and parked on disk, parked rows are dealt into sorted runs, shards are merged from the
runs. What a pass must know of all rows is counted by the pass before.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from shardline.data.dealing import Dealing, Dealt, deal_piece
from shardline.data.intake import Intake, Taken, take_in
from shardline.data.layout import (
    dataset_schema,
    declared_image,
    image_layout,
    required_columns,
    surveyed_columns,
    table_layout,
)
from shardline.data.images import IMAGE_FEATURE, infer_image_column
from shardline.data.manifest import (
    MARKER_NAME,
    Counts,
    DatasetManifest,
    SourceRecord,
    Split,
    dataset_folder,
)
from shardline.data.passes import Map, map_in_threads
from shardline.data.quarantine import QUARANTINE_KEY, QuarantineLog, Rejected
from shardline.data.rows import RowLayout
from shardline.data.schema import Schema
from shardline.data.scratch import Scratch
from shardline.data.shards import ShardSize, ShardWriting, plan_shards, write_shard
from shardline.data.sources import SourceFiles, content_hashes, fingerprint, list_source
from shardline.data.statistics.summary import column_statistics
from shardline.data.survey import Survey
from shardline.data.units import Unit, plan_units
from shardline.errors import DataError, IntegrityError, NotFoundError
from shardline.progress import Progress
from shardline.spec import Spec
from shardline.spec.data import SPLITS, DataSpec, SplitName
from shardline.store import Store, commit_marker, read_marker

# Part of every version: raise it when the same source would give other shards.
LAYOUT = 2
VERSION_DIGITS = 12


@dataclass(frozen=True)
class PrepareResult:
    """One prepared dataset version."""

    dataset: str
    version: str
    uri: str
    rows_read: int
    rows_kept: int
    rows_quarantined: int
    splits: dict[str, int]
    """Rows of each split."""
    reused: bool
    """Whether the version was there already and nothing was done."""
    quarantine: str | None
    """URI of the file that names every quarantined row."""


def prepare_dataset(
    spec: Spec,
    *,
    store: Store,
    clock: Callable[[], float],
    progress: Progress,
    size: ShardSize | None = None,
) -> PrepareResult:
    """Make the dataset that a spec describes, or find that it is there.

    Interrupted at any point, a rerun completes it; run twice at once, both write the same bytes.

    Args:
        spec: Its `data` section says all.
        store: Where the dataset goes.
        clock: Seconds since 1970.
        progress: Told the rows read so far.
        size: Bounds of shards and row groups.

    Raises:
        DataError: The source cannot become a dataset; nothing was committed.
    """
    size = size or ShardSize()
    files = list_source(spec.data.source, base=spec.base)
    source = SourceRecord(
        format=spec.data.source.format,
        path=files.uri,
        num_files=len(files.files),
        fingerprint=fingerprint(content_hashes(files)),
    )
    version = version_of(source.fingerprint, spec.data, size)
    folder = dataset_folder(spec.name, version)
    committed = _committed(store, folder)
    if committed is not None:
        return _result(store, committed, reused=True)
    with TemporaryDirectory(prefix="shardline-prepare-") as scratch:
        rows = _typed_rows(files, spec.data, Path(scratch), progress)
        _check_rows(rows, files, spec.data)
        schema = dataset_schema(spec.data, rows.layout, rows.vocabulary)
        written = write_splits(rows, schema, store=store, folder=folder, size=size)
    if rows.rejected:
        store.write(f"{folder}/{QUARANTINE_KEY}", dump_rejected(rows.rejected))
    statistics, record = dump_statistics(written.described)
    store.write(f"{folder}/{record.key}", statistics)
    manifest = DatasetManifest(
        name=spec.name,
        version=version,
        created_unix_s=clock(),
        columns=schema,
        splits=written.splits,
        split_rule=spec.data.split,
        statistics=written.statistics,
        statistics_file=record,
        source=source,
        counts=_counts(rows, kept=sum(split.rows for split in written.splits.values())),
    )
    # Lost to a twin: its marker describes the very shards that were written here.
    commit_marker(store, f"{folder}/{MARKER_NAME}", manifest)
    return _result(store, manifest, reused=False)


def version_of(source_fingerprint: str, data: DataSpec, size: ShardSize) -> str:
    """The version that a source and a `data` section lead to, wherever the source lies."""
    section = data.model_dump(mode="json")
    del section["source"]["path"]
    layout = [LAYOUT, size.target_bytes, size.group_bytes, size.group_rows]
    identity = {"source": source_fingerprint, "data": section, "layout": layout}
    canonical = json.dumps(identity, sort_keys=True).encode()
    return hashlib.sha256(canonical).hexdigest()[:VERSION_DIGITS]


def _typed_rows(files: SourceFiles, data: DataSpec, scratch: Path, progress: Progress) -> TypedRows:
    typed = Spool(scratch / "typed")
    if data.source.format == "images":
        column = declared_image(data) or infer_image_column(files, IMAGE_FEATURE)
        batches = read_images(files, column, label=data.label.name)
        counted = _counted(batches, progress, total=len(files.files))
        return type_rows(counted, image_layout(data, column), typed, split=data.split)
    survey = Survey(typed=data.source.format != "csv")
    raw = Spool(scratch / "raw")
    batches = read_tables(
        files, data.source, required_columns(data), everything=data.features is None
    )
    unread: list[Rejected] = []
    for batch in _counted(batches, progress, total=None):
        survey.add(batch)
        unread.extend(batch.rejected)
        if batch.table.num_rows:
            raw.append(batch.table)
    if not survey.num_rows:
        raise _no_rows(files, unread)
    layout = table_layout(data, survey)
    parked = (RawBatch(table, ()) for table in raw)
    return type_rows(parked, layout, typed, split=data.split, rejected=unread)


def _counted(
    batches: Iterator[RawBatch], progress: Progress, *, total: int | None
) -> Iterator[RawBatch]:
    done = 0
    for batch in batches:
        done += batch.table.num_rows + len(batch.rejected)
        progress.update(done=done, total=total)
        yield batch


def _check_rows(rows: TypedRows, files: SourceFiles, data: DataSpec) -> None:
    """Refuse rows that make no dataset: too many rejected, none left, none to train on."""
    check_share(rows.rejected, rows_read=rows.num_read, max_share=data.max_quarantined)
    if not rows.num_kept:
        raise _no_rows(files, rows.rejected)
    if not len(rows.of("train")):
        raise DataError(
            f"none of the {rows.num_kept} rows falls into the train split; raise "
            "data.split.fractions.train, choose a data.split.key with more values, or add rows."
        )


def _no_rows(files: SourceFiles, rejected: list[Rejected]) -> DataError:
    if not rejected:
        return DataError(f"data.source.path {files.uri} holds no rows; check that it is complete.")
    first = rejected[0]
    return DataError(
        f"none of the {len(rejected)} rows in {files.uri} can be used; the first: "
        f"{first.file} row {first.row}: {first.reason}."
    )


def _counts(rows: TypedRows, *, kept: int) -> Counts:
    counts = Counts(rows_read=rows.num_read, rows_kept=kept, rows_quarantined=len(rows.rejected))
    if counts.rows_read != counts.rows_kept + counts.rows_quarantined:
        raise IntegrityError(
            f"{counts.rows_read} rows were read, yet {counts.rows_kept} written and "
            f"{counts.rows_quarantined} quarantined; nothing was committed, report this as a bug."
        )
    return counts


def _committed(store: Store, folder: str) -> DatasetManifest | None:
    try:
        return read_marker(store, f"{folder}/{MARKER_NAME}", DatasetManifest)
    except NotFoundError:
        return None


def _result(store: Store, manifest: DatasetManifest, *, reused: bool) -> PrepareResult:
    counts = manifest.counts
    quarantine = store.uri_of(f"{manifest.folder}/{QUARANTINE_KEY}")
    return PrepareResult(
        dataset=manifest.name,
        version=manifest.version,
        uri=store.uri_of(manifest.folder),
        rows_read=counts.rows_read,
        rows_kept=counts.rows_kept,
        rows_quarantined=counts.rows_quarantined,
        splits={name: split.rows for name, split in manifest.splits.items()},
        reused=reused,
        quarantine=quarantine if counts.rows_quarantined else None,
    )
