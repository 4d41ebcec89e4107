"""What `gc` does: plan, and on demand remove what still is garbage when its turn comes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardline.artifacts.clock import Clock, unix_clock
from shardline.garbage.contents import look, read_pieces, read_references
from shardline.garbage.plan import SECONDS_PER_HOUR, Removal, mentioned, removals
from shardline.spec.locations import absolute
from shardline.store import Store
from shardline.store.leftovers import broken_off_writes, discard_write, stored_objects

DEFAULT_GRACE_HOURS = 24.0


@dataclass(frozen=True)
class GarbageResult:
    """What was found, and what became of it."""

    store: str
    deleted: bool
    """False of a dry run, which removes nothing."""
    objects: int
    size_bytes: int
    items: list[dict[str, Any]]
    """One per removal: `kind`, `key`, `objects`, `size_bytes`, `age_hours`, `reason`."""


def collect_garbage(
    store_uri: str,
    *,
    grace_hours: float = DEFAULT_GRACE_HOURS,
    delete: bool = False,
    clock: Clock = unix_clock,
) -> GarbageResult:
    """Find what nothing refers to, and remove it if asked to.

    Args:
        store_uri: Folder or URI.
        grace_hours: What changed more recently stays.
        delete: Whether to remove it; left out, this is a dry run.
        clock: The time.
    """
    store = Store(absolute(store_uri, base=Path.cwd()))
    planned = removals(look(store), now_unix_s=clock(), grace_s=grace_hours * SECONDS_PER_HOUR)
    if delete:
        planned = [removal for removal in planned if remove(store, removal)]
    return GarbageResult(
        store=store.uri,
        deleted=delete,
        objects=sum(len(removal.objects) for removal in planned),
        size_bytes=sum(removal.size_bytes for removal in planned),
        items=[_row(removal, now_unix_s=clock()) for removal in planned],
    )


def remove(store: Store, removal: Removal) -> bool:
    """Remove what was planned, unless anything there has changed since; whether it is gone.

    What makes an artifact exist goes first, and is looked for again after that.
    """
    if removal.kind in ("upload", "partial file"):
        return _remove_leftover(store, removal)
    # With their times: who takes up a broken-off work writes the same bytes again.
    now, planned = set(stored_objects(store, removal.key)), set(removal.objects)
    if removal.kind == "pieces":
        keys = [each.key for each in now]
        is_listed = {each.key for each in removal.objects} & set(read_pieces(store, keys))
        if is_listed or not planned <= now:
            return False
    elif now != planned:
        return False
    marker = f"{removal.key}dataset.json"
    if any(each.key == marker for each in removal.objects) and not _unmark(store, removal, marker):
        return False
    for each in removal.objects:
        store.delete(each.key)
    return True


def _unmark(store: Store, removal: Removal, marker: str) -> bool:
    """Let a dataset version exist no longer; put back if something has come to refer to it."""
    content = store.read(marker)
    store.delete(marker)
    keys = (entry.key for entry in store.scan(""))
    version = removal.key.split("/")[2]
    if mentioned(version, read_references(store, keys)):
        store.put_if_absent(marker, content)
        return False
    return True


def _remove_leftover(store: Store, removal: Removal) -> bool:
    (planned,) = removal.objects
    if planned not in broken_off_writes(store, planned.key):
        return False
    discard_write(store, planned)
    return True


def _row(removal: Removal, *, now_unix_s: float) -> dict[str, Any]:
    return {
        "kind": removal.kind,
        "key": removal.key,
        "objects": len(removal.objects),
        "size_bytes": removal.size_bytes,
        "age_hours": round((now_unix_s - removal.newest_unix_s) / SECONDS_PER_HOUR, 1),
        "reason": removal.reason,
    }
