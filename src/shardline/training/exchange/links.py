"""One-way links between neighbours of the ring: bytes leave in order and arrive in pieces."""

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

from shardline.errors import StalledError, TrainingError

# What one `read` may ask for. Sums of pieces this small happen in the core's own cache.
PIECE_BYTES = 1 << 18


class Sender(Protocol):
    """The link to the next rank. Never blocks."""

    def queue(self, data: memoryview) -> None:
        """Line up at most `PIECE_BYTES`; they must not change before they have left."""

    def push(self) -> bool:
        """Let go what can go; True once nothing is left."""

    def is_done(self) -> bool:
        """Whether this end may be closed without a loss, once nothing is left."""

    def awaited(self) -> tuple[int, int]:
        """File descriptor and poll event that say when `push` can go on."""


class Receiver(Protocol):
    """The link from the previous rank. Never blocks."""

    def read(self, num_bytes: int, target: memoryview | None) -> memoryview | None:
        """The next bytes, in the target or else in a place of the link's until the next call.

        Both neighbours cut their bytes alike. None when they are not all there; the same call must
        then be made again.
        """

    def release(self) -> None:
        """The bytes read last are not looked at any more."""

    def awaited(self) -> tuple[int, int]:
        """File descriptor and poll event that say when `read` can go on."""


class SocketSender:
    """Sends through a TCP connection.

    Args:
        connection: To the next rank.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._pending: deque[memoryview] = deque()

    def queue(self, data: memoryview) -> None:
        """Line up bytes."""
        self._pending.append(data)

    def push(self) -> bool:
        """Hand over what the kernel takes."""
        try:
            while self._pending:
                data = self._pending[0]
                num_sent = self._connection.send(data)
                if num_sent < len(data):
                    self._pending[0] = data[num_sent:]
                else:
                    self._pending.popleft()
        except BlockingIOError:
            return False
        return True

    def is_done(self) -> bool:
        """The kernel keeps what was handed over."""
        return True

    def awaited(self) -> tuple[int, int]:
        """Room in the kernel's buffer."""
        return self._connection.fileno(), select.POLLOUT


class SocketReceiver:
    """Receives from a TCP connection.

    Args:
        connection: From the previous rank.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._piece = memoryview(bytearray(PIECE_BYTES))
        self._num_read = 0

    def read(self, num_bytes: int, target: memoryview | None) -> memoryview | None:
        """The next bytes."""
        data = self._piece[:num_bytes] if target is None else target
        try:
            while self._num_read < num_bytes:
                self._num_read += received(self._connection, data[self._num_read :])
        except BlockingIOError:
            return None
        self._num_read = 0
        return data

    def release(self) -> None:
        """The place is this link's own."""

    def awaited(self) -> tuple[int, int]:
        """Anything to read."""
        return self._connection.fileno(), select.POLLIN


class Place(NamedTuple):
    """Ranks in the order in which bytes travel."""

    previous: int
    own: int
    next: int


class Neighbours:
    """Sends to one neighbour while it waits for the other, so that no full buffer blocks a ring.

    Args:
        sender: To the next rank.
        receiver: From the previous rank.
        place: Who they are.
        timeout_s: How long a neighbour may do nothing; may be changed between calls.
    """

    def __init__(
        self, sender: Sender, receiver: Receiver, *, place: Place, timeout_s: float
    ) -> None:
        self._sender = sender
        self._receiver = receiver
        self._place = place
        self.timeout_s = timeout_s

    def send(self, data: memoryview) -> None:
        """Line up at most `PIECE_BYTES` to the next rank; they must not change before `flush`."""
        if data:
            self._sender.queue(data)

    def receive(self, num_bytes: int, target: memoryview | None = None) -> memoryview:
        """The next bytes from the previous rank: in the target, or in place until the next call.

        Raises:
            StalledError: It sent nothing for too long.
            TrainingError: A neighbour is gone.
        """
        if num_bytes == 0:
            return memoryview(b"")
        began_s: float | None = None
        while True:
            all_gone = self._push()
            with self._names_lost(self._place.previous):
                data = self._receiver.read(num_bytes, target)
            if data is not None:
                return data
            began_s = time.monotonic() if began_s is None else began_s
            self._wait(began_s, sending=not all_gone, receiving=True)

    def flush(self) -> None:
        """Wait until everything has left this process's memory.

        Raises:
            StalledError: The next rank took nothing for too long.
            TrainingError: It is gone.
        """
        self._release()
        began_s = time.monotonic()
        while not self._push():
            self._wait(began_s, sending=True, receiving=False)

    def finish(self, timeout_s: float) -> None:
        """Give the next rank some time to read what it was sent, before the links are closed."""
        deadline_s = time.monotonic() + timeout_s
        with suppress(OSError):  # it may be gone already
            while not self._sender.is_done() and time.monotonic() < deadline_s:
                poll = select.poll()
                poll.register(*self._sender.awaited())
                poll.poll(timeout_s * 1e3)

    def _release(self) -> None:
        with self._names_lost(self._place.previous):
            self._receiver.release()

    def _push(self) -> bool:
        with self._names_lost(self._place.next):
            return self._sender.push()

    def _wait(self, began_s: float, *, sending: bool, receiving: bool) -> None:
        left_s = began_s + self.timeout_s - time.monotonic()
        if left_s <= 0:
            peer = self._place.previous if receiving else self._place.next
            raise StalledError(
                f"rank {self._place.own} waited {self.timeout_s:g} s for rank {peer}, which is "
                "connected but silent: it is stopped, stuck or very slow; "
                "train.stall_timeout_s says how long to wait once steps are taken."
            )
        poll = select.poll()
        for link, wanted in ((self._sender, sending), (self._receiver, receiving)):
            if wanted:
                poll.register(*link.awaited())
        poll.poll(left_s * 1e3)

    @contextmanager
    def _names_lost(self, peer: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"rank {self._place.own} lost its peer, rank {peer}: {error}."
            ) from error


def received(connection: socket.socket, target: memoryview | bytearray) -> int:
    """Take what has arrived; 0 bytes mean that the peer has gone.

    Raises:
        BlockingIOError: Nothing has arrived.
        ConnectionResetError: The peer closed the connection.
    """
    num_received = connection.recv_into(target)
    if num_received == 0:
        raise ConnectionResetError("it closed the connection")
    return num_received


def received_exactly(connection: socket.socket, length: int) -> bytes:
    """Wait for so many bytes; the connection's own timeout holds.

    Raises:
        OSError: They did not come.
    """
    data = bytearray(length)
    num_read = 0
    while num_read < length:
        num_read += received(connection, memoryview(data)[num_read:])
    return bytes(data)
