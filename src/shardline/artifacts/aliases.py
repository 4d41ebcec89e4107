"""Aliases: movable pointers to model versions, each with the history of its moves."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.manifest import MODELS_FOLDER, ModelManifest
from shardline.errors import GateError, IntegrityError, NotFoundError
from shardline.spec.output import Bound
from shardline.store import Marker, Store, commit_marker, dump_marker, read_marker


class AliasMove(BaseModel):
    """One move of an alias."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    when_unix_s: float
    from_version: int | None
    """None for the first move."""
    to_version: int
    why: str


class AliasRecord(Marker):
    """Where an alias points, and every move that brought it there."""

    model: str
    alias: str
    version: int
    history: tuple[AliasMove, ...]
    """Oldest first."""


def promote(
    store: Store,
    manifest: ModelManifest,
    alias: str,
    *,
    gate: Mapping[str, Bound],
    clock: Clock = unix_clock,
    why: str = "promoted",
) -> AliasRecord:
    """Point an alias at a version that passes the gate.

    Raises:
        GateError: It does not pass; the alias stays where it was.
    """
    failures = gate_failures(manifest.metrics, gate)
    if failures:
        raise GateError(
            f"version {manifest.version} of model {manifest.name!r} does not pass the gate: "
            f"{'; '.join(failures)}; alias {alias!r} was not moved."
        )
    return move_alias(store, manifest, alias, why=why, clock=clock)


def gate_failures(metrics: Mapping[str, float], gate: Mapping[str, Bound]) -> list[str]:
    """One sentence part per bound that the metrics do not keep; empty when all are kept."""
    if gate and not metrics:
        return ["it was never evaluated; run `shardline evaluate`, then export again"]
    failures = []
    for name, bound in gate.items():
        if name not in metrics:
            failures.append(f"{name} is not among its metrics ({', '.join(sorted(metrics))})")
            continue
        value = metrics[name]
        # Written as "not inside" so that NaN fails.
        if bound.min is not None and not value >= bound.min:
            failures.append(f"{name} is {value:g}, at least {bound.min:g} is required")
        if bound.max is not None and not value <= bound.max:
            failures.append(f"{name} is {value:g}, at most {bound.max:g} is allowed")
    return failures


def move_alias(
    store: Store, manifest: ModelManifest, alias: str, *, why: str, clock: Clock
) -> AliasRecord:
    """Point an alias at a version by compare-and-swap; nothing happens if it is there already."""
    key = _alias_key(manifest.name, alias)
    while True:
        if not store.exists(key):
            created = _moved(None, manifest, alias, why=why, when_unix_s=clock())
            if commit_marker(store, key, created):
                return created
        data, stamp = store.read_versioned(key)
        current = _parsed(store, key, data)
        if current.version == manifest.version:
            return current
        moved = _moved(current, manifest, alias, why=why, when_unix_s=clock())
        if store.compare_and_swap(key, dump_marker(moved), version=stamp):
            return moved


def read_alias(store: Store, model: str, alias: str) -> AliasRecord:
    """Where an alias points.

    Raises:
        NotFoundError: It does not exist; the sentence lists those that do.
    """
    key = _alias_key(model, alias)
    try:
        return read_marker(store, key, AliasRecord)
    except NotFoundError as error:
        existing = ", ".join(record.alias for record in list_aliases(store, model)) or "none"
        raise NotFoundError(
            f"model {model!r} has no alias {alias!r}; it has {existing}; "
            "set one with `shardline promote`."
        ) from error


def list_aliases(store: Store, model: str) -> list[AliasRecord]:
    """All aliases of a model, by name."""
    folder = f"{MODELS_FOLDER}/{model}/aliases/"
    return [read_marker(store, entry.key, AliasRecord) for entry in store.scan(folder)]


def _alias_key(model: str, alias: str) -> str:
    return f"{MODELS_FOLDER}/{model}/aliases/{alias}.json"


def _parsed(store: Store, key: str, data: bytes) -> AliasRecord:
    try:
        return AliasRecord.model_validate_json(data)
    except ValueError as error:
        raise IntegrityError(
            f"{store.uri_of(key)} is no alias; it was edited: delete it and promote again."
        ) from error


def _moved(
    current: AliasRecord | None,
    manifest: ModelManifest,
    alias: str,
    *,
    why: str,
    when_unix_s: float,
) -> AliasRecord:
    move = AliasMove(
        when_unix_s=when_unix_s,
        from_version=current.version if current else None,
        to_version=manifest.version,
        why=why,
    )
    return AliasRecord(
        model=manifest.name,
        alias=alias,
        version=manifest.version,
        history=(*(current.history if current else ()), move),
    )
