"""The registry: immutable model versions, numbered in the order they were claimed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shardline.artifacts.aliases import list_aliases, read_alias
from shardline.artifacts.manifest import (
    MARKER_NAME,
    MODELS_FOLDER,
    Lineage,
    ModelManifest,
    version_folder,
)
from shardline.errors import IntegrityError, NotFoundError
from shardline.store import Store, commit_marker, dump_marker, read_marker


@dataclass(frozen=True)
class ModelSummary:
    """What the registry holds under one name."""

    name: str
    versions: tuple[int, ...]
    aliases: dict[str, int]
    """Version that each alias points to."""


def claim_version(store: Store, model: str) -> int:
    """Take the next version number for good; of racing callers each gets another one.

    A number whose export then fails stays unused.
    """
    folder = f"{MODELS_FOLDER}/{model}/claims/"
    taken = [int(entry.key.removeprefix(folder)) for entry in store.scan(folder)]
    version = max(taken, default=0) + 1
    while not store.put_if_absent(f"{folder}{version}", b""):
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
    """Published versions of a model, oldest first."""
    folders = store.list_folders(f"{MODELS_FOLDER}/{model}")
    numbers = sorted(int(name) for name in folders if name.isdigit())
    return [n for n in numbers if store.exists(f"{version_folder(model, n)}/{MARKER_NAME}")]


def resolve(
    store: Store, model: str, *, alias: str | None = None, version: int | None = None
) -> ModelManifest:
    """A published version: the one asked for, the one an alias points to, or the newest.

    Raises:
        NotFoundError: It does not exist; the sentence lists what does.
    """
    published = versions(store, model)
    if not published:
        raise NotFoundError(
            f"store {store.uri} has no model {model!r}; {_others(model_names(store))}; run "
            "`shardline export` first."
        )
    if alias is not None:
        version = read_alias(store, model, alias).version
    number = published[-1] if version is None else version
    if number not in published:
        raise NotFoundError(
            f"model {model!r} has no version {number}; {_existing('it has', published)}."
        )
    return read_marker(store, f"{version_folder(model, number)}/{MARKER_NAME}", ModelManifest)


def find_export(
    store: Store, model: str, *, lineage: Lineage, metrics: dict[str, float]
) -> ModelManifest | None:
    """The newest version made from the same checkpoint, recipe and code, with the same metrics."""
    for version in reversed(versions(store, model)):
        manifest = resolve(store, model, version=version)
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
            aliases={record.alias: record.version for record in list_aliases(store, name)},
        )
        for name in (model_names(store) if names is None else names)
    ]


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
