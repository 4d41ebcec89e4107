"""The proof that a store honours conditional writes: writers race for one object, and one may win.

Some S3 servers accept the conditions and ignore them; on those, two writers could both believe
that they committed.
"""

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Never

from shardline.errors import (
    ConditionError,
    ShardlineError,
    StoreError,
    StoreUnavailableError,
)
from shardline.store.storage import Bytes

PROBE_FOLDER = ".shardline/probes"
NUM_RACERS = 4
RACE_TIMEOUT_S = 60.0

_proven: set[str] = set()
_proving = threading.Lock()


def prove(store: Bytes, uri: str) -> None:
    """Let writers race in the store, once per process for each address and identity.

    Objects of its own names are raced for, so probes of several processes know nothing of each
    other; they are removed, and one that was killed leaves a few bytes below `PROBE_FOLDER`.

    Raises:
        StoreError: It cannot be written, or the writers did not find exactly one winner.
    """
    with _proving:
        if store.identity in _proven:
            return
        keys = [f"{PROBE_FOLDER}/{secrets.token_hex(8)}-{name}" for name in ("claim", "pointer")]
        try:
            _race_in(store, uri, *keys)
        except StoreUnavailableError:
            raise  # no use in asking it to remove something
        except ShardlineError:
            _remove(store, keys)
            raise
        _remove(store, keys)
        _proven.add(store.identity)


def _race_in(store: Bytes, uri: str, claim: str, pointer: str) -> None:
    try:  # alone: an address that is wrong is asked once
        store.put_if_absent(pointer, b"start")
    except ConditionError:
        # A request that is at fault in another way fails without its condition, too.
        store.write(pointer, b"start")
        _refuse(store, uri, "does not support conditional writes")
    if store.put_if_absent(pointer, b"again"):
        _refuse(store, uri, "replaced an object on the condition that there is none")

    won = _raced(lambda mine: store.put_if_absent(claim, mine))
    _check(store, uri, claim, won, "create one object (If-None-Match: *)")

    _, version = store.read_versioned(pointer)
    won = _raced(lambda mine: store.compare_and_swap(pointer, mine, version))
    _check(store, uri, pointer, won, "replace the same version of an object (If-Match)")


def _remove(store: Bytes, keys: list[str]) -> None:
    for key in keys:
        with suppress(ShardlineError):  # what may not be deleted is told when it has to be
            store.delete(key)


def _raced(act: Callable[[bytes], bool]) -> list[bytes]:
    """Contents of the writers who believe that they won."""
    start = threading.Barrier(NUM_RACERS)

    def racer(number: int) -> bytes | None:
        mine = b"writer %d" % number
        start.wait(RACE_TIMEOUT_S)
        return mine if act(mine) else None

    with ThreadPoolExecutor(NUM_RACERS) as pool:
        return [mine for mine in pool.map(racer, range(NUM_RACERS)) if mine is not None]


def _check(store: Bytes, uri: str, key: str, won: list[bytes], what: str) -> None:
    if len(won) != 1:
        _refuse(store, uri, f"let {len(won)} of {NUM_RACERS} racing writers {what}")
    if store.read_versioned(key)[0] != won[0]:
        _refuse(store, uri, f"does not hold what the winner wrote who raced to {what}")


def _refuse(store: Bytes, uri: str, reason: str) -> Never:
    raise StoreError(
        f"store {uri} cannot be used: {store.name} {reason}; choose a server with conditional "
        "writes."
    )
