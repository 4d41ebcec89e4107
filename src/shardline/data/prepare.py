"""Raw source to dataset: found if it is there already, else made; the marker comes last."""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from shardline.cluster.tasks import num_nodes
from shardline.data.manifest import (
    MARKER_NAME,
    MAX_LISTED_FILES,
    Counts,
    DatasetManifest,
    SourceRecord,
    Split,
    StatisticsFile,
    dataset_folder,
)
from shardline.data.origin import Origin, find_origin
from shardline.data.pieces import Pieces
from shardline.data.pipeline import Pipeline, Rows
from shardline.data.quarantine import QUARANTINE_KEY
from shardline.data.schema import Label
from shardline.data.scratch import Scratch
from shardline.data.shards import ShardSize
from shardline.data.statistics.describe import describe
from shardline.data.statistics.document import dump_statistics
from shardline.data.statistics.summary import column_statistics
from shardline.data.statistics.table import TableSketch
from shardline.errors import IntegrityError, NotFoundError
from shardline.progress import Progress
from shardline.spec import Spec
from shardline.spec.data import DataSpec, SplitName
from shardline.store import Store, commit_marker, read_marker

# Part of every version: raise it when the same source would give other shards.
LAYOUT = 5
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
    with TemporaryDirectory(prefix="shardline-prepare-") as scratch:
        origin = find_origin(
            spec.data,
            base=spec.base,
            folder=_made(scratch, "made"),
            known=lambda uri: Pieces(store, spec.name, uri).known(),
        )
        version = version_of(origin.fingerprint, spec.data, size)
        folder = dataset_folder(spec.name, version)
        committed = _committed(store, folder)
        if committed is not None:
            return _result(store, committed, reused=True)
        pieces = Pieces(store, spec.name, origin.uri) if _reuses(spec, origin) else None
        with _shared_scratch(store, spec) as shared:
            where = _made(scratch, "rows")
            pipeline = Pipeline(
                origin, spec.data, folder=where, progress=progress, pieces=pieces, scratch=shared
            )
            rows = pipeline.rows(size)
            splits, sketches = pipeline.written(rows, store=store, folder=folder, size=size)
        for key, data in rows.quarantine.parts():
            store.write(f"{folder}/{key}", data)
    record = None
    if spec.data.statistics == "full":
        record = _write_statistics(sketches, rows.schema.label, store, folder)
    described = {
        "created_unix_s": clock(),
        "statistics": column_statistics(sketches["train"], [c.name for c in rows.schema.features]),
        "statistics_file": record,
    }
    manifest = _manifest(spec, version, origin, rows, splits).model_copy(update=described)
    # Lost to a twin: its marker describes the very shards that were written here.
    commit_marker(store, f"{folder}/{MARKER_NAME}", manifest)
    if pieces is not None:
        pieces.commit(origin.bulk, origin.bulk_contents)
    return _result(store, manifest, reused=False)


def version_of(source_fingerprint: str, data: DataSpec, size: ShardSize) -> str:
    """The version that a source and a `data` section lead to, wherever the source lies."""
    section = data.model_dump(mode="json", exclude={"reuse"})
    for located in (section["source"], section["source"].get("labels") or {}):
        located.pop("path", None)
    layout = [LAYOUT, size.target_bytes, size.group_bytes, size.group_rows]
    identity = {"source": source_fingerprint, "data": section, "layout": layout}
    canonical = json.dumps(identity, sort_keys=True).encode()
    return hashlib.sha256(canonical).hexdigest()[:VERSION_DIGITS]


def _manifest(
    spec: Spec, version: str, origin: Origin, rows: Rows, splits: dict[SplitName, Split]
) -> DatasetManifest:
    """All but the time and the statistics."""
    return DatasetManifest(
        name=spec.name,
        version=version,
        created_unix_s=0,
        columns=rows.schema,
        splits=splits,
        split_rule=spec.data.split,
        boundaries=rows.boundaries,
        cleaning=rows.cleaning,
        statistics={},
        source=_source_record(origin, spec.data),
        counts=_counts(rows, splits),
    )


def _reuses(spec: Spec, origin: Origin) -> bool:
    return spec.data.reuse and origin.grows and spec.data.source.format != "python"


@contextmanager
def _shared_scratch(store: Store, spec: Spec) -> Iterator[Scratch | None]:
    """A place in the store for parked rows, if tasks may run on other machines than this."""
    if num_nodes() < 2:
        yield None
        return
    folder = f"scratch/{spec.name}-{secrets.token_hex(8)}/"
    try:
        yield Scratch(store, folder)
    finally:
        store.delete_folder(folder)


def _made(scratch: str, name: str) -> Path:
    folder = Path(scratch, name)
    folder.mkdir()
    return folder


def _source_record(origin: Origin, data: DataSpec) -> SourceRecord:
    return SourceRecord(
        format=data.source.format,
        path=origin.uri,
        num_files=origin.num_files,
        fingerprint=origin.fingerprint,
        files=origin.digests if origin.num_files <= MAX_LISTED_FILES else {},
    )


def _write_statistics(
    sketches: dict[SplitName, TableSketch], label: Label, store: Store, folder: str
) -> StatisticsFile:
    described = describe(sketches, label=label.name, class_names=label.vocabulary)
    data, record = dump_statistics(described)
    store.write(f"{folder}/{record.key}", data)
    return record


def _counts(rows: Rows, splits: dict[SplitName, Split]) -> Counts:
    kept = sum(split.rows for split in splits.values())
    counts = Counts(
        rows_read=rows.num_read,
        rows_kept=kept,
        rows_quarantined=rows.quarantine.count,
        quarantined_by_rule=dict(sorted(rows.quarantine.by_rule.items())),
        rows_sampled_out=rows.num_sampled_out,
    )
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
