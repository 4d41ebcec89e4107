"""Tombstones: what stays of a deleted model version, and what keeps aliases away from it.

A tombstone is `pending` while the aliases are looked at, and ends as `deleted`, for good, or as
`withdrawn`, which is as if it had never been. Every change is a compare-and-swap, so of several
deletions at once one decides.
"""

from collections.abc import Collection
from typing import Literal

from shardline.artifacts.author import when_in_words
from shardline.artifacts.manifest import MODELS_FOLDER, Lineage
from shardline.errors import NotFoundError
from shardline.store import Marker, Store, commit_marker, dump_marker, parse_marker, read_marker

State = Literal["pending", "withdrawn", "deleted"]


class Tombstone(Marker):
    """A deletion of a model version."""

    model: str
    version: int
    state: State
    who: str
    when_unix_s: float
    """When the deletion was asked for."""
    why: str
    lineage: Lineage
    """What the version was made from, for whoever holds predictions of it."""
    id: str
    """Tells an attempt from a later one at the same version."""

    @property
    def sentence(self) -> str:
        """Who, when and why."""
        what = "was deleted" if self.state == "deleted" else "is being deleted"
        reason = f" ({self.why})" if self.why else ""
        return (
            f"version {self.version} of model {self.model!r} {what} by {self.who} on "
            f"{when_in_words(self.when_unix_s)}{reason}"
        )


def find_tombstone(store: Store, model: str, version: int) -> Tombstone | None:
    """The pending or finished deletion of a version."""
    try:
        found = read_marker(store, _key(model, version), Tombstone)
    except NotFoundError:
        return None
    return None if found.state == "withdrawn" else found


def tombstones(
    store: Store, model: str, *, among: Collection[int] | None = None
) -> dict[int, Tombstone]:
    """Pending and finished deletions of a model, by version; left out, `among` means all."""
    folder = f"{MODELS_FOLDER}/{model}/deleted/"
    names = [entry.key.removeprefix(folder) for entry in store.scan(folder)]
    numbers = [int(name.removesuffix(".json")) for name in names]
    wanted = [number for number in numbers if among is None or number in among]
    found = (find_tombstone(store, model, number) for number in wanted)
    return {each.version: each for each in found if each is not None}


def erect(store: Store, wanted: Tombstone) -> tuple[Tombstone, str]:
    """Put a pending tombstone up, or take over what an earlier attempt left.

    Returns:
        The tombstone that is there now and its version in the store. It is `wanted`, unless the
        version is deleted already or another attempt was faster.
    """
    key = _key(wanted.model, wanted.version)
    commit_marker(store, key, wanted)
    found, stamp = _read(store, key)
    if found.id == wanted.id or found.state == "deleted":
        return found, stamp
    # Tried once: two living attempts must not take over from each other for ever.
    store.compare_and_swap(key, dump_marker(wanted), version=stamp)
    return _read(store, key)


def settle(store: Store, pending: Tombstone, stamp: str, state: State) -> bool:
    """Decide a pending deletion; False if another attempt has taken it over."""
    key = _key(pending.model, pending.version)
    settled = pending.model_copy(update={"state": state})
    if store.compare_and_swap(key, dump_marker(settled), version=stamp):
        return True
    # A write whose answer was lost is sent again by the client, and then finds itself.
    return read_marker(store, key, Tombstone) == settled


def _read(store: Store, key: str) -> tuple[Tombstone, str]:
    data, stamp = store.read_versioned(key)
    return parse_marker(store, key, data, Tombstone), stamp


def _key(model: str, version: int) -> str:
    return f"{MODELS_FOLDER}/{model}/deleted/{version}.json"
