"""Links between workers of one machine: bytes go through memory that both have mapped.

The loopback interface copies every byte into the kernel and out again, a packet at a time. Here the
sender copies a piece into a slot and the receiver adds it from there; the TCP connection that is
there anyway says with a byte which slot is full (forward) and which is free again (back), so a peer
that dies or stalls is noticed as over TCP.
"""

import mmap
import os
import secrets
import select
import socket
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from shardline.training.exchange.links import PIECE_BYTES, received, received_exactly

FOLDER = Path("/dev/shm")  # in memory
# Enough that the sender is not waited for while the receiver sums, few enough to stay in cache.
NUM_SLOTS = 8
NAME_BYTES = 32
NO_NAME = b"-" * NAME_BYTES


class SharedSender:
    """Copies pieces into free slots.

    Args:
        connection: To the next rank.
        slots: The memory, uint8 [NUM_SLOTS, PIECE_BYTES].
    """

    def __init__(self, connection: socket.socket, slots: Any) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._slots = slots
        self._num_free = NUM_SLOTS
        self._slot = 0
        self._pending: deque[memoryview] = deque()
        self._acknowledged = bytearray(NUM_SLOTS)

    def queue(self, data: memoryview) -> None:
        """Line up bytes."""
        self._pending.append(data)

    def push(self) -> bool:
        """Fill the slots that are free."""
        while self._pending:
            if self._num_free == 0 and not self._learn_of_free_slots():
                return False
            data = self._pending.popleft()
            # numpy lets other threads run while it copies; a memoryview does not.
            self._slots[self._slot, : len(data)] = np.frombuffer(data, np.uint8)
            self._slot = (self._slot + 1) % NUM_SLOTS
            self._num_free -= 1
            self._connection.send(b"\0")  # never more than a few bytes: there is room
        return True

    def is_done(self) -> bool:
        """Whether the receiver has read every piece."""
        while self._num_free < NUM_SLOTS and self._learn_of_free_slots():
            pass
        return self._num_free == NUM_SLOTS

    def awaited(self) -> tuple[int, int]:
        """A slot that is free again."""
        return self._connection.fileno(), select.POLLIN

    def _learn_of_free_slots(self) -> bool:
        try:
            self._num_free += received(self._connection, self._acknowledged)
        except BlockingIOError:
            return False
        return True


class SharedReceiver:
    """Reads pieces where the sender put them.

    Args:
        connection: From the previous rank.
        slots: The memory, uint8 [NUM_SLOTS, PIECE_BYTES].
    """

    def __init__(self, connection: socket.socket, slots: Any) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._slots = slots
        self._num_full = 0
        self._slot = 0
        self._is_in_use = False
        self._announced = bytearray(NUM_SLOTS)

    def read(self, num_bytes: int, target: memoryview | None) -> memoryview | None:
        """The next piece, in its slot or copied out of it."""
        self.release()
        if self._num_full == 0:
            try:
                self._num_full += received(self._connection, self._announced)
            except BlockingIOError:
                return None
        piece = self._slots[self._slot, :num_bytes]
        self._slot = (self._slot + 1) % NUM_SLOTS
        self._num_full -= 1
        self._is_in_use = True
        if target is None:
            return memoryview(piece)
        np.frombuffer(target, np.uint8)[...] = piece
        self.release()
        return target

    def awaited(self) -> tuple[int, int]:
        """A slot that is full."""
        return self._connection.fileno(), select.POLLIN

    def release(self) -> None:
        """Let the sender have the slot of the last piece."""
        if self._is_in_use:
            self._is_in_use = False
            self._connection.send(b"\0")


def share_memory(
    to_next: socket.socket, from_previous: socket.socket, *, allowed: bool = True
) -> tuple[Any | None, Any | None]:
    """Agree with both neighbours, over fresh blocking connections, on memory to share.

    A neighbour on another machine, in another container or of another user cannot open the file
    that is offered, and says so. The file is gone as soon as both have mapped it.

    Args:
        to_next: To the next rank.
        from_previous: From the previous rank.
        allowed: Whether to share with anyone.

    Returns:
        Slots to fill and slots to read; None where bytes go over the connection.
    """
    offered = _offer() if allowed else None
    try:
        to_next.sendall(offered[0] if offered else NO_NAME)
        name = received_exactly(from_previous, NAME_BYTES)
        mapped = _map(name) if allowed and name != NO_NAME else None
        from_previous.sendall(b"\0" if mapped is None else b"\1")
        is_shared = received_exactly(to_next, 1) == b"\1"
    finally:
        if offered:
            (FOLDER / offered[0].decode("ascii")).unlink()
    return (offered[1] if offered and is_shared else None), mapped


def _offer() -> tuple[bytes, Any] | None:
    name = secrets.token_hex(NAME_BYTES // 2)
    path = FOLDER / name
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError:
        return None  # a platform without it
    try:
        # Memory that is promised only would end the process when it is used and not there.
        os.posix_fallocate(file, 0, NUM_SLOTS * PIECE_BYTES)
        return name.encode("ascii"), _slots(file)
    except OSError:
        path.unlink()
        return None  # the folder is full: containers get 64 MB by default
    finally:
        os.close(file)


def _map(name: bytes) -> Any | None:
    with suppress(OSError, ValueError):
        file = os.open(FOLDER / bytes.fromhex(name.decode("ascii")).hex(), os.O_RDWR)
        try:
            return _slots(file)
        finally:
            os.close(file)
    return None


def _slots(file: int) -> Any:
    memory = mmap.mmap(file, NUM_SLOTS * PIECE_BYTES)
    return np.frombuffer(memory, np.uint8).reshape(NUM_SLOTS, PIECE_BYTES)
