"""Aliases: movable pointers to model versions, each with the history of its moves.

An alias moves by compare-and-swap, from a record that the mover has read, and only to a version of
which it has seen no tombstone since. A deletion puts its tombstone up first and then counts up the
`fence` of every alias. So whoever looked for a tombstone too early fails to swap and looks again,
and no alias ever points to a version that was deleted, whoever dies when.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shardline.artifacts.author import Author
from shardline.artifacts.manifest import MODELS_FOLDER
from shardline.artifacts.tombstones import find_tombstone
from shardline.errors import InUseError, NotFoundError
from shardline.store import Marker, Store, commit_marker, dump_marker, parse_marker, read_marker

Action = Literal["promote", "rollback"]


class AliasMove(BaseModel):
    """One move of an alias."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    when_unix_s: float
    from_version: int | None
    """None for the first move."""
    to_version: int
    why: str
    who: str | None = None
    """None where nobody recorded it."""
    action: Action = "promote"
    id: str = ""
    """Random; tells a writer whose answer was lost that the move is its own."""


class AliasRecord(Marker):
    """Where an alias points, and every move that brought it there."""

    model: str
    alias: str
    version: int | None
    """None, for a moment, while an alias is made: it does not exist yet."""
    history: tuple[AliasMove, ...]
    """Oldest first."""
    fence: int = 0
    """Counted up by deletions, so that moves that began before them look again."""


@dataclass(frozen=True)
class Decision:
    """Where an alias is to point, and why."""

    to_version: int
    why: str
    action: Action = "promote"


Decide = Callable[[AliasRecord], Decision | None]
"""What to do with an alias as it is now, None for nothing. Asked again whenever it has changed."""


def move_alias(
    store: Store, model: str, alias: str, decide: Decide, *, author: Author
) -> AliasRecord:
    """Move an alias as decided on the very record that is replaced.

    Raises:
        InUseError: The version that was decided on is being deleted, or is gone.
    """
    key, move_id = _alias_key(model, alias), secrets.token_hex(8)
    while True:
        current, stamp = _current(store, model, alias)
        if any(move.id == move_id for move in current.history):
            return current  # swapped, but the answer was lost and the client sent it again
        decision = decide(current)
        if decision is None:
            return current
        _check_stays(store, model, decision.to_version)
        if stamp is None:
            # Made empty first: a deletion that does not see it yet is seen from here.
            commit_marker(store, key, current)
            continue
        moved = _moved(current, decision, author, move_id)
        if store.compare_and_swap(key, dump_marker(moved), version=stamp):
            return moved


def fence_aliases(store: Store, model: str, version: int) -> list[str]:
    """Have every move that is under way look for tombstones again.

    Returns:
        The aliases that point to the version now.
    """
    holders = []
    for key in _alias_keys(store, model):
        while True:
            data, stamp = store.read_versioned(key)
            record = parse_marker(store, key, data, AliasRecord)
            if record.version == version:
                holders.append(record.alias)
                break
            fenced = record.model_copy(update={"fence": record.fence + 1})
            if store.compare_and_swap(key, dump_marker(fenced), version=stamp):
                break
    return holders


def read_alias(store: Store, model: str, alias: str) -> AliasRecord:
    """Where an alias points.

    Raises:
        NotFoundError: It does not exist; the sentence lists those that do.
    """
    current, _ = _current(store, model, alias)
    if current.version is None:
        existing = ", ".join(record.alias for record in list_aliases(store, model)) or "none"
        raise NotFoundError(
            f"model {model!r} has no alias {alias!r}; it has {existing}; "
            "set one with `shardline promote`."
        )
    return current


def list_aliases(store: Store, model: str) -> list[AliasRecord]:
    """All aliases of a model, by name."""
    found = (read_marker(store, key, AliasRecord) for key in _alias_keys(store, model))
    return [record for record in found if record.version is not None]


def _current(store: Store, model: str, alias: str) -> tuple[AliasRecord, str | None]:
    """The record and its version in the store; an empty one and None if there is none."""
    key = _alias_key(model, alias)
    try:
        data, stamp = store.read_versioned(key)
    except NotFoundError:
        return AliasRecord(model=model, alias=alias, version=None, history=()), None
    return parse_marker(store, key, data, AliasRecord), stamp


def _check_stays(store: Store, model: str, version: int) -> None:
    tombstone = find_tombstone(store, model, version)
    if tombstone is None:
        return
    way_out = (
        "choose another version"
        if tombstone.state == "deleted"
        else f"finish it with `shardline delete models/{model}/{version}`, or choose another"
    )
    raise InUseError(f"{tombstone.sentence}; {way_out}.")


def _moved(current: AliasRecord, decision: Decision, author: Author, move_id: str) -> AliasRecord:
    move = AliasMove(
        when_unix_s=author.clock(),
        from_version=current.version,
        to_version=decision.to_version,
        why=decision.why,
        who=author.who,
        action=decision.action,
        id=move_id,
    )
    update = {"version": decision.to_version, "history": (*current.history, move)}
    return current.model_copy(update=update)


def _alias_keys(store: Store, model: str) -> list[str]:
    return [entry.key for entry in store.scan(f"{MODELS_FOLDER}/{model}/aliases/")]


def _alias_key(model: str, alias: str) -> str:
    return f"{MODELS_FOLDER}/{model}/aliases/{alias}.json"
