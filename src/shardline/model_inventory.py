"""What the registry holds, as plain rows for tables and JSON."""

from pathlib import Path
from typing import Any

from shardline.artifacts.aliases import AliasMove, list_aliases
from shardline.artifacts.author import when_in_words
from shardline.artifacts.registry import VersionEntry, list_models, list_versions, model_names
from shardline.errors import NotFoundError
from shardline.spec.locations import absolute
from shardline.store import Store

Rows = list[dict[str, Any]]


def models(store_uri: str) -> Rows:
    """Every model with its aliases."""
    store = _store(store_uri)
    rows = []
    for name in model_names(store):
        try:
            (summary,) = list_models(store, [name])
        except NotFoundError:
            continue  # an alias was removed while it was read
        aliases = " ".join(f"{alias}={v}" for alias, v in summary.aliases.items())
        rows.append({"model": name, "versions": len(summary.versions), "aliases": aliases})
    return rows


def versions(store_uri: str, name: str) -> Rows:
    """Every number that was ever taken for a version of a model, and what became of it.

    Raises:
        NotFoundError: None was.
    """
    store = _store(store_uri)
    entries = list_versions(store, name)
    if not entries:
        raise NotFoundError(
            f"store {store.uri} has no model {name!r}; check --store, or leave the name out to "
            "list all."
        )
    aliases: dict[int | None, list[str]] = {}
    for record in list_aliases(store, name):
        aliases.setdefault(record.version, []).append(record.alias)
    return [_version_row(store, name, each, aliases.get(each.version, [])) for each in entries]


def history(store_uri: str, name: str) -> Rows:
    """Every move of a model's aliases, each alias's oldest first."""
    return [
        _move_row(record.alias, move)
        for record in list_aliases(_store(store_uri), name)
        for move in record.history
    ]


def _version_row(
    store: Store, model: str, entry: VersionEntry, aliases: list[str]
) -> dict[str, Any]:
    """When, who and why are of what the status says: published, claimed or deleted."""
    manifest, claim, tombstone = entry.manifest, entry.claim, entry.tombstone
    lineage = manifest.lineage if manifest else None
    metrics = manifest.metrics if manifest else {}
    moments = (
        tombstone.when_unix_s if tombstone else None,
        manifest.created_unix_s if manifest else None,
        claim.when_unix_s if claim else None,
    )
    when = next((moment for moment in moments if moment is not None), None)
    folder = f"models/{model}/{entry.version}"
    return {
        "model": model,
        "version": entry.version,
        "status": entry.status,
        "aliases": " ".join(aliases),
        "when": None if when is None else when_in_words(when),
        "who": tombstone.who if tombstone else claim.who if claim else None,
        "why": tombstone.why if tombstone else "",
        "metrics": " ".join(f"{key}={value:.4g}" for key, value in metrics.items()),
        "run": f"{lineage.run}@{lineage.step}" if lineage else "",
        "dataset": f"{lineage.dataset}/{lineage.dataset_version}" if lineage else "",
        "size_bytes": sum(found.size for found in store.scan(f"{folder}/")),
        "uri": store.uri_of(folder),
    }


def _move_row(alias: str, move: AliasMove) -> dict[str, Any]:
    return {
        "alias": alias,
        "when": when_in_words(move.when_unix_s),
        "who": move.who,
        "action": move.action,
        "from": move.from_version,
        "to": move.to_version,
        "why": move.why,
    }


def _store(uri: str) -> Store:
    return Store(absolute(uri, base=Path.cwd()))
