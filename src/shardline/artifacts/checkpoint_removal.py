"""How checkpoints go: the marker first, the files once nobody reads them."""

from collections.abc import Iterable

from shardline.artifacts.checkpoint import MARKER_NAME, CheckpointManifest, read_checkpoint
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.leases import is_leased
from shardline.store import Store


def delete_checkpoints(
    store: Store, checkpoints: Iterable[CheckpointManifest], *, clock: Clock = unix_clock
) -> None:
    """Remove checkpoints; those that somebody reads stay for a later call."""
    for checkpoint in checkpoints:
        remove_folder(store, checkpoint.key, now_unix_s=clock())


def remove_folder(store: Store, folder: str, *, now_unix_s: float) -> bool:
    """Remove a checkpoint's folder, committed or not; False if files stay since they are read.

    A reader that has seen the marker wrote its lease before, so the look after the marker is gone
    finds it; one that comes later finds no marker. The look before spares the marker of a
    checkpoint that is being read: it goes on being listed.
    """
    if is_leased(store, folder, now_unix_s=now_unix_s):
        return False
    return unmark_and_remove(store, folder, now_unix_s=now_unix_s)


def unmark_and_remove(store: Store, folder: str, *, now_unix_s: float) -> bool:
    """Let a checkpoint exist no longer; False if its files stay because somebody reads them.

    They are in nobody's way: a commit of the same step names its own.
    """
    store.delete(f"{folder}/{MARKER_NAME}")
    if is_leased(store, folder, now_unix_s=now_unix_s):
        return False
    # One by one: `delete_folder` would sweep up the lease that a late reader is just writing.
    for entry in list(store.scan(f"{folder}/")):
        store.delete(entry.key)
    return True


def discard_damaged(store: Store, checkpoint: CheckpointManifest) -> None:
    """Let a checkpoint whose files are not those that were committed exist no longer, read or not.

    Unless another one was committed in its place meanwhile. Its files stay: training commits the
    step again and writes over them, which another command may be about to do at this moment.
    """
    found = read_checkpoint(store, checkpoint.key)
    if found is not None and found.files == checkpoint.files:
        store.delete(f"{checkpoint.key}/{MARKER_NAME}")
