"""What a store holds, as plain data: objects and their ages, and what refers to what."""

import json
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from shardline.data.pieces import INDEX
from shardline.errors import NotFoundError, StoreError
from shardline.store import Store
from shardline.store.leftovers import Stored, broken_off_writes, stored_objects

OWN_PREFIX = ".shardline/"
# What they say keeps dataset versions: pointers, runs, models and scores.
REFERRING = (
    "current.json", "run.json", "checkpoint.json", "model.json", "score.json",
)  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """A store at one moment."""

    objects: tuple[Stored, ...]
    broken_off: tuple[Stored, ...] = ()
    """Partial files and uploads."""
    references: tuple[str, ...] = ()
    """Texts of all documents that may refer to a dataset version."""
    pieces: frozenset[str] = frozenset()
    """Keys of the pieces that the last version of each dataset consists of."""


def look(store: Store) -> Contents:
    """What is there now."""
    objects = tuple(o for o in stored_objects(store) if not o.key.startswith(OWN_PREFIX))
    keys = [each.key for each in objects]
    return Contents(
        objects=objects,
        broken_off=tuple(_broken_off(store)),
        references=tuple(read_references(store, keys)),
        pieces=frozenset(read_pieces(store, keys)),
    )


def read_references(store: Store, keys: Iterable[str]) -> list[str]:
    """Texts of the documents among these keys that may refer to a dataset version.

    Not parsed: what mentions a version in any way, in whatever layout, keeps it.
    """
    return [text for key in keys if _refers(key) for text in _text(store, key)]


def read_pieces(store: Store, keys: Collection[str]) -> list[str]:
    """Keys of the pieces that the indexes among these keys list; all beside one that is torn."""
    known = []
    for key in keys:
        folder, _, name = key.rpartition("/")
        if not key.startswith("pieces/") or name != INDEX:
            continue
        for text in _text(store, key):
            try:
                pieces = [str(piece) for piece in json.loads(text)["pieces"]]
            except (ValueError, KeyError, TypeError):
                known += [each for each in keys if each.startswith(f"{folder}/")]
                continue
            known += [f"{folder}/{piece}" for piece in pieces]
            known += [f"{folder}/{piece.removesuffix('.arrow')}.json" for piece in pieces]
    return known


def _refers(key: str) -> bool:
    folder, _, name = key.rpartition("/")
    return name in REFERRING or (folder.endswith("/evaluations") and name.endswith(".json"))


def _text(store: Store, key: str) -> list[str]:
    """The document's text, none if it was removed meanwhile."""
    try:
        return [store.read(key).decode(errors="replace")]
    except NotFoundError:
        return []


def _broken_off(store: Store) -> list[Stored]:
    try:
        return list(broken_off_writes(store))
    except StoreError as error:  # a permission of its own, and not all servers have it
        logger.warning("uploads that broke off are left alone: %s", error)
        return []
