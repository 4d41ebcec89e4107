"""What a store holds of datasets and runs, as plain rows for tables and JSON."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from shardline.artifacts.checkpoint import CheckpointManifest, best_checkpoint, list_checkpoints
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.journal import read_journal
from shardline.artifacts.leases import holds
from shardline.artifacts.retention import kept
from shardline.data.manifest import DatasetManifest, dataset_versions, load_dataset
from shardline.data.pinned import pinned_columns
from shardline.data.quarantine_summary import summarise_quarantine
from shardline.data.statistics.document import ColumnProfile, load_statistics
from shardline.errors import IntegrityError, NotFoundError
from shardline.report import one_line
from shardline.spec.locations import absolute
from shardline.spec.train import CheckpointSpec
from shardline.store import Store
from shardline.terminal import sparkline
from shardline.training.run import read_run

NUM_BARS = 16
NUM_VALUES = 3
MAX_VALUE = 20
# Rarer values are none that a column is known by.
MIN_SHARE = 0.05

Rows = list[dict[str, Any]]

Key = TypeVar("Key")
Found = TypeVar("Found")


def datasets(store_uri: str, name: str | None) -> Rows:
    """Current version of every dataset, or all versions of one."""
    store = _store(store_uri)
    if name is None:
        current = _found(lambda each: load_dataset(store, each), store.list_folders("datasets"))
        return [_dataset_row(manifest) for manifest in current]
    found = _found(lambda v: load_dataset(store, name, v), dataset_versions(store, name))
    found = _some(found, f"dataset {name!r}", store)
    return [_dataset_row(manifest) for manifest in sorted(found, key=_created)]


def columns(store_uri: str, name: str, version: str | None) -> Rows:
    """What is known of the columns of a dataset version; empty if nothing was measured."""
    store = _store(store_uri)
    manifest = load_dataset(store, name, version)
    if manifest.statistics_file is None:
        return []
    statistics = load_statistics(store, manifest)
    settled = {entry.feature: entry for entry in statistics.relevance if entry.measurable}
    notes = {entry.feature: entry.reason for entry in statistics.droppable}
    notes[statistics.label] = "is the label"
    return [
        {
            **_column_row(column),
            "settles": settled[column.name].share if column.name in settled else None,
            "note": notes.get(column.name, ""),
        }
        for column in statistics.columns
    ]


def page(store_uri: str, name: str, version: str | None) -> str:
    """A dataset version as one HTML page.

    Raises:
        NotFoundError: There is no such dataset, or it was prepared without statistics.
    """
    from shardline.data.page.page import dataset_page

    store = _store(store_uri)
    manifest = load_dataset(store, name, version)
    statistics = load_statistics(store, manifest)
    return dataset_page(manifest, statistics, summarise_quarantine(store, manifest))


def pinned(store_uri: str, name: str, version: str | None) -> str:
    """The columns of a dataset as a spec declares them."""
    return pinned_columns(load_dataset(_store(store_uri), name, version).columns)


def runs(store_uri: str, name: str | None) -> Rows:
    """Newest checkpoint of every run, or all checkpoints of one."""
    store = _store(store_uri)
    if name is not None:
        return _checkpoint_rows(store, name)
    found = {each: list_checkpoints(store, each)[-1:] for each in store.list_folders("runs")}
    return [_checkpoint_row(store, each) for newest in found.values() for each in newest]


def epochs(store_uri: str, name: str) -> Rows:
    """The curve of a run: what its journal says of every finished epoch.

    Without a journal, what its newest checkpoint says; `seconds`, `rows_per_s`, `data_wait` and
    `learning_rate` are None where they are not known.
    """
    store = _store(store_uri)
    checkpoints = list_checkpoints(store, name)
    known = {line.epoch: line for line in read_journal(store, name) if line.kind == "epoch"}
    history = {
        int(entry["epoch"]): entry for entry in (checkpoints[-1].history if checkpoints else ())
    }
    rows = []
    for epoch in sorted(known.keys() | history.keys()):
        line, entry = known.get(epoch), history.get(epoch, {})
        logs = line.logs if line else {key: v for key, v in entry.items() if key != "epoch"}
        speeds = ("learning_rate", "seconds", "rows_per_s", "data_wait")
        known_speeds = {key: getattr(line, key, None) for key in speeds}
        rows.append({"epoch": epoch, **known_speeds, **logs})
    return rows


def checkpoints(store_uri: str, name: str, *, clock: Clock = unix_clock) -> Rows:
    """All checkpoints of a run, oldest first: what they hold and why each is kept.

    `kept` gives the reasons by the policy that the run was trained with last (`last`, `best`,
    `hourly`), and `read` while a reader holds it; empty, the next commit removes it.
    """
    store = _store(store_uri)
    found = _some(list_checkpoints(store, name), f"run {name!r}", store)
    policy = _policy_of(store, name)
    reasons, best = kept(found, policy), best_checkpoint(found, policy.monitor)
    rows = []
    for checkpoint in found:
        entries = list(store.scan(f"{checkpoint.key}/"))
        held = any(holds(entry.key, now_unix_s=clock()) for entry in entries)
        rows.append(
            {
                "step": checkpoint.step,
                "epoch": checkpoint.cursor.epoch,
                "step_of_epoch": checkpoint.cursor.step,
                "created": _moment(checkpoint.created_unix_s),
                "size_bytes": sum(entry.size for entry in entries),
                "metrics": _metrics_of(checkpoint),
                "kept": " ".join((*reasons.get(checkpoint.step, ()), *(["read"] if held else []))),
                "best": checkpoint.step == best.step,
                "uri": store.uri_of(checkpoint.key),
            }
        )
    return rows


def _moment(unix_s: float) -> str | None:
    """In UTC, to the second; None of a checkpoint from before it was recorded."""
    if not unix_s:
        return None
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds")


def _checkpoint_rows(store: Store, run: str) -> Rows:
    """All checkpoints of a run, with what they weigh and which one evaluation takes."""
    checkpoints = _some(list_checkpoints(store, run), f"run {run!r}", store)
    best = best_checkpoint(checkpoints, _policy_of(store, run).monitor)
    return [
        {
            **_checkpoint_row(store, checkpoint),
            "metrics": _metrics_of(checkpoint),
            "size_bytes": sum(entry.size for entry in store.scan(f"{checkpoint.key}/")),
            "best": checkpoint.step == best.step,
        }
        for checkpoint in checkpoints
    ]


def _checkpoint_row(store: Store, checkpoint: CheckpointManifest) -> dict[str, Any]:
    return {
        "run": checkpoint.run,
        "step": checkpoint.step,
        "epochs": checkpoint.cursor.epoch,
        "dataset": f"{checkpoint.dataset}/{checkpoint.dataset_version}",
        "uri": store.uri_of(checkpoint.key),
    }


def _metrics_of(checkpoint: CheckpointManifest) -> str:
    """Those of the epoch that a checkpoint ends; one inside an epoch has none of its own."""
    if checkpoint.cursor.step or not checkpoint.history:
        return ""
    logs = checkpoint.history[-1].items()
    return " ".join(f"{name}={value:.4g}" for name, value in logs if name != "epoch")


def _policy_of(store: Store, run: str) -> CheckpointSpec:
    """What the run was trained with last: which checkpoints are kept, and which is the best one."""
    try:
        train: Any = read_run(store, run).spec["train"]
        return CheckpointSpec(**train["checkpoint"])
    except (NotFoundError, IntegrityError, ValueError, KeyError, TypeError):
        return CheckpointSpec()  # a run without a readable record has no best but its last


def _dataset_row(manifest: DatasetManifest) -> dict[str, Any]:
    return {
        "dataset": manifest.name,
        "version": manifest.version,
        "rows": manifest.counts.rows_kept,
        "quarantined": manifest.counts.rows_quarantined,
        "splits": " ".join(f"{name}={split.rows}" for name, split in manifest.splits.items()),
    }


def _column_row(column: ColumnProfile) -> dict[str, Any]:
    """Numbers of numeric columns, lengths of lists and images, frequent values where there are."""
    found = column.values or (column.lengths if column.kind != "text" else None)
    histogram = found.histogram if found else None
    frequent = [
        f"{_short_value(entry.value)} ({entry.count / column.rows:.0%})"
        for entry in column.top[:NUM_VALUES]
        if entry.count > MIN_SHARE * column.rows
    ]
    return {
        "column": one_line(column.name),
        "type": column.type,
        "missing": column.nulls + column.not_finite,
        "distinct": column.distinct,
        "mean": found.mean if found else None,
        "deviation": found.deviation if found else None,
        "min": found.min if found else None,
        "median": found.quantiles.get("0.5") if found else None,
        "max": found.max if found else None,
        "histogram": sparkline(histogram.counts, width=NUM_BARS) if histogram else "",
        "most frequent": ", ".join(frequent),
    }


def _short_value(value: str | int | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value))[:MAX_VALUE]


def _found(read: Callable[[Key], Found], keys: Iterable[Key]) -> list[Found]:
    """What is read under each key; what a broken-off verb left or another just removed is not."""
    found = []
    for key in keys:
        with suppress(NotFoundError):
            found.append(read(key))
    return found


def _created(manifest: DatasetManifest) -> float:
    return manifest.created_unix_s


def _some(found: list[Any], what: str, store: Store) -> list[Any]:
    if not found:
        raise NotFoundError(
            f"store {store.uri} has no {what}; check --store, or leave the name out to list all."
        )
    return found


def _store(uri: str) -> Store:
    return Store(absolute(uri, base=Path.cwd()))
