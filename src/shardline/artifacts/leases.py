"""Leases: what keeps a checkpoint's files in place while somebody reads them.

A reader writes a lease first and reads the marker then; who removes a checkpoint deletes the
marker first and looks for leases then. Whichever comes first, a reader that has seen the marker has
a lease that the remover sees, and the files stay until a later pass finds the lease gone. Stores
list what was written (S3 since 2020), so no lock is needed.
"""

import logging
import math
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from shardline.artifacts.clock import Clock, unix_clock
from shardline.errors import ShardlineError
from shardline.store import Marker, Store, dump_marker

# What a killed reader leaves is in nobody's way after it.
LEASE_S = 3600.0
# By so much the clocks of a reader and of who removes may differ.
CLOCK_SKEW_S = 300.0

logger = logging.getLogger(__name__)


class Lease(Marker):
    """One reader of an artifact, for people: its name alone says how long it holds."""

    reader: str
    """What it reads for."""
    expires_unix_s: float


@contextmanager
def leased(
    store: Store,
    folder: str,
    *,
    reader: str,
    clock: Clock = unix_clock,
    renewed_after_s: float = LEASE_S / 2,
) -> Iterator[None]:
    """Hold a lease on a folder inside the block, however long that takes.

    It lies in `FOLDER/readers/EXPIRY-TOKEN.json`: one listing tells which leases hold.

    Args:
        store: Where the folder is.
        folder: Key prefix of the artifact.
        reader: What it is read for.
        clock: The reader's.
        renewed_after_s: When another lease takes the place of one.
    """
    held = [_written(store, folder, reader, clock)]
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(renewed_after_s):
            try:
                held.append(_written(store, folder, reader, clock))
            except ShardlineError as error:  # half of its time is left to try again
                logger.warning("a lease could not be renewed: %s", error)
                continue
            if len(held) > 2:  # a listing that has begun may miss the newest
                _given_back(store, held.pop(0))

    with ThreadPoolExecutor(1, thread_name_prefix="lease") as renewing:
        renewed = renewing.submit(renew)
        try:
            yield
        finally:
            ended.set()
            renewed.result()
            for key in held:
                _given_back(store, key)


def _written(store: Store, folder: str, reader: str, clock: Clock) -> str:
    expires = math.ceil(clock() + LEASE_S)
    key = f"{readers_prefix(folder)}{expires}-{secrets.token_hex(8)}.json"
    store.write(key, dump_marker(Lease(reader=reader, expires_unix_s=expires)))
    return key


def _given_back(store: Store, key: str) -> None:
    try:
        store.delete(key)
    except ShardlineError as error:  # it ends by itself; what was read is read
        logger.warning("a lease could not be given back: %s", error)


def is_leased(store: Store, folder: str, *, now_unix_s: float) -> bool:
    """Whether somebody reads an artifact."""
    keys = (entry.key for entry in store.scan(readers_prefix(folder)))
    return any(holds(key, now_unix_s=now_unix_s) for key in keys)


def holds(key: str, *, now_unix_s: float) -> bool:
    """Whether the lease of that key has not run out; what is not named like one is none."""
    expires, dash, _ = key.rpartition("/")[2].partition("-")
    return bool(dash) and expires.isdigit() and now_unix_s < int(expires) + CLOCK_SKEW_S


def readers_prefix(folder: str) -> str:
    """Key prefix of a folder's leases."""
    return f"{folder}/readers/"
