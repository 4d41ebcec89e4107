"""The registry: immutable model versions, numbered in the order they were claimed."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shardline.artifacts.aliases import list_aliases, read_alias
from shardline.artifacts.author import Author, current_author
from shardline.artifacts.manifest import (
    MARKER_NAME,
    MODELS_FOLDER,
    Lineage,
    ModelManifest,
    version_folder,
)
from shardline.artifacts.tombstones import Tombstone, find_tombstone, tombstones
from shardline.errors import IntegrityError, NotFoundError
from shardline.store import Marker, Store, commit_marker, dump_marker, parse_marker, read_marker

Status = Literal["published", "claimed", "deleting", "deleted"]


@dataclass(frozen=True)
class ModelSummary:
    """What the registry holds under one name."""

    name: str
    versions: tuple[int, ...]
    aliases: dict[str, int]
    """Version that each alias points to."""


class Claim(Marker):
    """A version number that is taken."""

    who: str
    when_unix_s: float
    id: str
    """Random; tells a writer whose answer was lost that the claim is its own."""


@dataclass(frozen=True)
class VersionEntry:
    """One number and what became of it."""

    version: int
    status: Status
    """Claimed and not published: its export is at work, or has failed."""
    manifest: ModelManifest | None
    """None once it is deleted, and before it is published."""
    claim: Claim | None
    """None where nobody recorded it."""
    tombstone: Tombstone | None


def claim_version(store: Store, model: str, *, author: Author | None = None) -> int:
    """Take the next version number for good; of racing callers each gets another one.

    A number whose export then fails stays unused, and `shardline models NAME` shows it.
    """
    author = author or current_author()
    claim = Claim(who=author.who, when_unix_s=author.clock(), id=secrets.token_hex(8))
    version = max(_numbers(store, model), default=0) + 1
    while not commit_marker(store, _claim_key(model, version), claim):
        found = _read_claim(store, model, version)
        if found == claim:
            break  # a write whose answer was lost is sent again by the client, and finds itself
        if store.exists(_claim_key(model, version)):
            version += 1
    return version


def publish(store: Store, manifest: ModelManifest, folder: Path) -> None:
    """Write a claimed version's files, its marker last.

    Raises:
        IntegrityError: The version exists already, with another marker.
    """
    # TensorFlow Serving watches the folder and takes a version up when it sees saved_model.pb.
    for path in sorted(manifest.files, key=lambda path: (path == "saved_model.pb", path)):
        store.write_file(f"{manifest.folder}/{path}", folder / path, sha256=manifest.files[path])
    marker = f"{manifest.folder}/{MARKER_NAME}"
    # A write whose answer was lost is sent again by the client, and then finds itself.
    if not commit_marker(store, marker, manifest) and store.read(marker) != dump_marker(manifest):
        raise IntegrityError(
            f"{store.uri_of(manifest.folder)} exists already; versions never change: "
            "claim a new one."
        )


def versions(store: Store, model: str) -> list[int]:
    """Published versions of a model that were not deleted, oldest first."""
    folders = store.list_folders(f"{MODELS_FOLDER}/{model}")
    numbers = sorted(int(name) for name in folders if name.isdigit())
    marked = [n for n in numbers if store.exists(f"{version_folder(model, n)}/{MARKER_NAME}")]
    found = tombstones(store, model, among=marked)
    return [n for n in marked if n not in found or found[n].state != "deleted"]


def list_versions(store: Store, model: str) -> list[VersionEntry]:
    """Every number that was ever taken, oldest first."""
    gone, published = tombstones(store, model), versions(store, model)
    entries = []
    for number in sorted({*_numbers(store, model), *gone}):
        manifest = _read_version(store, model, number) if number in published else None
        tombstone, claim = gone.get(number), _read_claim(store, model, number)
        status = _status(manifest, tombstone)
        entries.append(VersionEntry(number, status, manifest, claim, tombstone))
    return entries


def resolve(
    store: Store, model: str, *, alias: str | None = None, version: int | None = None
) -> ModelManifest:
    """A published version: the one asked for, the one an alias points to, or the newest.

    Raises:
        NotFoundError: It does not exist; the sentence lists what does.
    """
    if alias is not None:
        _some_published(store, model)
        version = read_alias(store, model, alias).version
    number = _some_published(store, model)[-1] if version is None else version
    manifest = _read_version(store, model, number)
    if manifest is None:
        raise missing_version(store, model, number)
    return manifest


def check_exists(store: Store, model: str, version: int) -> None:
    """See that a version is published and was not deleted.

    Raises:
        NotFoundError: It is not; the sentence says why, and lists those that are.
    """
    if version not in versions(store, model):
        raise missing_version(store, model, version)


def missing_version(store: Store, model: str, version: int) -> NotFoundError:
    """Why a version cannot be had: who deleted it, or what there is instead."""
    tombstone = find_tombstone(store, model, version)
    if tombstone is not None:
        there_is = _existing("it has", versions(store, model))
        return NotFoundError(f"{tombstone.sentence}; {there_is}.")
    there_is = _existing("it has", _some_published(store, model))
    return NotFoundError(f"model {model!r} has no version {version}; {there_is}.")


def find_export(
    store: Store, model: str, *, lineage: Lineage, metrics: dict[str, float]
) -> ModelManifest | None:
    """The newest version made from the same checkpoint, recipe and code, with the same metrics."""
    for version in reversed(versions(store, model)):
        manifest = _read_version(store, model, version)
        if manifest is None:
            continue  # deleted since it was listed
        if _origin(manifest.lineage) == _origin(lineage) and manifest.metrics == metrics:
            return manifest
    return None


def model_names(store: Store) -> list[str]:
    """Registered models that have a published version."""
    return [name for name in store.list_folders(MODELS_FOLDER) if versions(store, name)]


def list_models(store: Store, names: Iterable[str] | None = None) -> list[ModelSummary]:
    """What `shardline models` shows; left out, `names` means all of them."""
    return [
        ModelSummary(
            name=name,
            versions=tuple(versions(store, name)),
            aliases={
                record.alias: record.version
                for record in list_aliases(store, name)
                if record.version is not None
            },
        )
        for name in (model_names(store) if names is None else names)
    ]


def _status(manifest: ModelManifest | None, tombstone: Tombstone | None) -> Status:
    if tombstone is not None:
        return "deleted" if tombstone.state == "deleted" else "deleting"
    return "claimed" if manifest is None else "published"


def _some_published(store: Store, model: str) -> list[int]:
    published = versions(store, model)
    if not published:
        raise NotFoundError(
            f"store {store.uri} has no model {model!r}; {_others(model_names(store))}; run "
            "`shardline export` first."
        )
    return published


def _read_version(store: Store, model: str, version: int) -> ModelManifest | None:
    """None if it was never published, or is deleted."""
    tombstone = find_tombstone(store, model, version)
    if tombstone is not None and tombstone.state == "deleted":
        return None
    marker = f"{version_folder(model, version)}/{MARKER_NAME}"
    try:
        manifest = read_marker(store, marker, ModelManifest)
    except NotFoundError:
        return None
    if manifest.folder != version_folder(model, version):  # or its files would be another's
        raise IntegrityError(
            f"{store.uri_of(marker)} describes version {manifest.version} of {manifest.name!r}; it "
            "was copied or edited: export that model again."
        )
    return manifest


def _numbers(store: Store, model: str) -> set[int]:
    """All that are taken, should the claims of some be lost."""
    claims = f"{MODELS_FOLDER}/{model}/claims/"
    deleted = f"{MODELS_FOLDER}/{model}/deleted/"
    names = [entry.key.removeprefix(claims) for entry in store.scan(claims)]
    names += [
        entry.key.removeprefix(deleted).removesuffix(".json") for entry in store.scan(deleted)
    ]
    names += store.list_folders(f"{MODELS_FOLDER}/{model}")
    return {int(name) for name in names if name.isdigit()}


def _read_claim(store: Store, model: str, version: int) -> Claim | None:
    key = _claim_key(model, version)
    try:
        data = store.read(key)
    except NotFoundError:
        return None
    return parse_marker(store, key, data, Claim) if data else None  # empty before they said who


def _claim_key(model: str, version: int) -> str:
    return f"{MODELS_FOLDER}/{model}/claims/{version}"


def _origin(lineage: Lineage) -> tuple[str, ...]:
    return (
        lineage.checkpoint_digest,
        lineage.recipe_digest,
        lineage.code_digest,
        lineage.dataset_version,
    )


def _others(names: list[str]) -> str:
    return f"it has {', '.join(names)}" if names else "its registry is empty"


def _existing(verb: str, items: Iterable[object]) -> str:
    return f"{verb} {', '.join(map(str, items)) or 'none'}"
