"""What a store holds: datasets, runs and models as plain rows for tables and JSON."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.artifacts.registry import list_models, model_names, resolve, versions
from shardline.data.manifest import DatasetManifest, dataset_versions, load_dataset
from shardline.errors import NotFoundError
from shardline.spec.locations import absolute
from shardline.store import Store

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


def runs(store_uri: str, name: str | None) -> Rows:
    """Newest checkpoint of every run, or all checkpoints of one."""
    store = _store(store_uri)
    names = store.list_folders("runs") if name is None else [name]
    found = {each: list_checkpoints(store, each) for each in names}
    if name is not None:
        _some(found[name], f"run {name!r}", store)
    kept = {each: all_of if name else all_of[-1:] for each, all_of in found.items()}
    return [
        {
            "run": each,
            "step": checkpoint.step,
            "epochs": checkpoint.cursor.epoch,
            "dataset": f"{checkpoint.dataset}/{checkpoint.dataset_version}",
            "uri": store.uri_of(checkpoint.key),
        }
        for each, checkpoints in kept.items()
        for checkpoint in checkpoints
    ]


def models(store_uri: str, name: str | None) -> Rows:
    """Every model with its aliases, or all versions of one."""
    store = _store(store_uri)
    if name is None:
        return [
            {
                "model": summary.name,
                "versions": len(summary.versions),
                "aliases": " ".join(f"{alias}={v}" for alias, v in summary.aliases.items()),
            }
            for summaries in _found(lambda each: list_models(store, [each]), model_names(store))
            for summary in summaries
        ]
    found = _found(lambda v: resolve(store, name, version=v), versions(store, name))
    return [
        {
            "model": manifest.name,
            "version": manifest.version,
            "metrics": " ".join(f"{key}={value:.4g}" for key, value in manifest.metrics.items()),
            "run": f"{manifest.lineage.run}@{manifest.lineage.step}",
            "dataset": f"{manifest.lineage.dataset}/{manifest.lineage.dataset_version}",
            "uri": store.uri_of(manifest.folder),
        }
        for manifest in _some(found, f"model {name!r}", store)
    ]


def _dataset_row(manifest: DatasetManifest) -> dict[str, Any]:
    return {
        "dataset": manifest.name,
        "version": manifest.version,
        "rows": manifest.counts.rows_kept,
        "quarantined": manifest.counts.rows_quarantined,
        "splits": " ".join(f"{name}={split.rows}" for name, split in manifest.splits.items()),
    }


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
