"""Deleting a model version: refused while an alias points to it, and never half done."""

import secrets

from shardline.artifacts.aliases import fence_aliases, list_aliases
from shardline.artifacts.author import Author
from shardline.artifacts.manifest import MARKER_NAME, ModelManifest, version_folder
from shardline.artifacts.registry import resolve
from shardline.artifacts.tombstones import Tombstone, erect, find_tombstone, settle
from shardline.errors import ConflictError, InUseError
from shardline.store import Store


def delete_version(
    store: Store, model: str, version: int, *, why: str, author: Author
) -> Tombstone:
    """Remove a version's files; its number stays taken. A repeated call finishes a broken-off one.

    Raises:
        NotFoundError: There is no such version.
        InUseError: An alias points to it; nothing was removed.
        ConflictError: Another deletion of it is under way.
    """
    before = find_tombstone(store, model, version)
    if before is None or before.state == "pending":
        manifest = resolve(store, model, version=version)
        if before is None:  # what a broken-off attempt left is withdrawn below, if need be
            _check_unused(model, version, _pointing(store, model, version))
        before = _decided(store, _request(manifest, why, author))
    _remove_files(store, model, version)
    return before


def _decided(store: Store, request: Tombstone) -> Tombstone:
    """The tombstone of a version that no alias points to, nor ever will."""
    model, version = request.model, request.version
    tombstone, stamp = erect(store, request)
    if tombstone.state == "deleted":
        return tombstone
    mine = tombstone.id == request.id
    used = fence_aliases(store, model, version) if mine else []
    if used:
        settle(store, tombstone, stamp, "withdrawn")
        _check_unused(model, version, used)
    if not mine or not settle(store, tombstone, stamp, "deleted"):
        raise ConflictError(
            f"version {version} of model {model!r} is being deleted by somebody else, too; look at "
            f"`shardline models {model}`."
        )
    return tombstone.model_copy(update={"state": "deleted"})


def _remove_files(store: Store, model: str, version: int) -> None:
    """The marker first, then what TensorFlow Serving looks for, then the rest."""
    folder = version_folder(model, version)
    store.delete(f"{folder}/{MARKER_NAME}")
    store.delete(f"{folder}/saved_model.pb")
    store.delete_folder(folder)


def _request(manifest: ModelManifest, why: str, author: Author) -> Tombstone:
    return Tombstone(
        model=manifest.name,
        version=manifest.version,
        state="pending",
        who=author.who,
        when_unix_s=author.clock(),
        why=why,
        lineage=manifest.lineage,
        id=secrets.token_hex(8),
    )


def _pointing(store: Store, model: str, version: int) -> list[str]:
    return [record.alias for record in list_aliases(store, model) if record.version == version]


def _check_unused(model: str, version: int, aliases: list[str]) -> None:
    if aliases:
        raise InUseError(
            f"version {version} of model {model!r} is what {' and '.join(aliases)} points to; move "
            "the alias to another version first."
        )
