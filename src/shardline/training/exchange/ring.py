"""A ring of TCP connections over which workers without a GPU interconnect sum and talk."""

import hmac
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from shardline.errors import TrainingError
from shardline.training.exchange.links import (
    PIECE_BYTES,
    Neighbours,
    Place,
    SocketReceiver,
    SocketSender,
    received_exactly,
)
from shardline.training.exchange.queued_calls import QueuedCalls
from shardline.training.exchange.reduction import NarrowSums, PlainSums, Sums, reduce_around
from shardline.training.exchange.shared_memory import SharedReceiver, SharedSender, share_memory

CONNECT_TIMEOUT_S = 60.0
# A peer sends its token at once.
STRANGER_TIMEOUT_S = 5.0
# A peer may legitimately be this late: it imports TensorFlow, traces or waits for a slow store.
PEER_TIMEOUT_S = 600.0
# A peer that is well reads on at once.
FINISH_TIMEOUT_S = 2.0
TOKEN_BYTES = 32
LENGTH = struct.Struct("<Q")


class Listener:
    """A bound port that the previous rank of the ring will connect to.

    Args:
        host: Address that peers reach this machine at.
    """

    def __init__(self, host: str) -> None:
        self._socket = socket.create_server((host, 0), backlog=8)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]

    def accept(self, token: bytes) -> socket.socket:
        """The first connection that presents the token; others are turned away.

        Raises:
            TrainingError: The previous rank did not connect in time.
        """
        deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                break
            if _presents(connection, token):
                return connection
            connection.close()
        raise TrainingError(f"no peer connected to {self.address} in {CONNECT_TIMEOUT_S:.0f} s.")

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class TcpRing:
    """An `Exchange` over two TCP connections: to the next rank and from the previous one.

    Calls may come from any thread, one after the other in the same order on all ranks. After the
    first failure every call fails alike: the ranks no longer agree on where in the stream they are.

    Args:
        rank: This worker's number.
        addresses: Listening address of every rank.
        listener: This rank's listener.
        token: 32 secret bytes that all ranks share; strangers are refused.
        shares_memory: Whether bytes for a neighbour on this machine go through shared memory.

    Attributes:
        background: Makes calls that the caller does not wait for at once; other calls must not
            overtake them on some ranks only.
        links: To the next rank and from the previous one.
        failure: The first error that a call raised. TensorFlow passes errors of host calls on as
            its own, with a traceback for a message; this is the original.
    """

    def __init__(
        self,
        rank: int,
        *,
        addresses: Sequence[tuple[str, int]],
        listener: Listener,
        token: bytes,
        shares_memory: bool = True,
    ) -> None:
        self.rank = rank
        self.world_size = len(addresses)
        self.host = addresses[rank][0]
        self.failure: TrainingError | None = None
        place = Place((rank - 1) % self.world_size, rank, (rank + 1) % self.world_size)
        self._next = socket.create_connection(addresses[place.next], timeout=CONNECT_TIMEOUT_S)
        self._next.sendall(token)
        self._previous = listener.accept(token)
        listener.close()
        for connection in (self._next, self._previous):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(CONNECT_TIMEOUT_S)
        to_fill, to_read = share_memory(self._next, self._previous, allowed=shares_memory)
        self.links = (
            SocketSender(self._next) if to_fill is None else SharedSender(self._next, to_fill),
            SocketReceiver(self._previous)
            if to_read is None
            else SharedReceiver(self._previous, to_read),
        )
        self._neighbours = Neighbours(*self.links, place=place, timeout_s=PEER_TIMEOUT_S)
        self.background = QueuedCalls("ring")
        self._turns = threading.Lock()
        self._scratch: np.ndarray[Any, Any] = np.empty(0)

    def all_reduce(self, arrays: Sequence[Any]) -> list[Any]:
        """Element-wise sums over all ranks.

        Raises:
            StalledError: A neighbour was silent for too long.
            TrainingError: It is gone.
        """
        results: list[Any] = [None] * len(arrays)
        by_dtype: dict[np.dtype[Any], list[int]] = {}
        for index, array in enumerate(arrays):
            by_dtype.setdefault(array.dtype, []).append(index)
        for indices in by_dtype.values():
            flat = np.concatenate([arrays[index].ravel() for index in indices])
            self.sum_into(flat, flat)
            start = 0
            for index in indices:
                size = arrays[index].size
                results[index] = flat[start : start + size].reshape(arrays[index].shape)
                start += size
        return results

    def sum_into(
        self, source: Any, result: Any, *, scale: float = 1.0, wire: "np.dtype[Any] | None" = None
    ) -> None:
        """Fill an array with the scaled element-wise sums of all ranks' arrays.

        Args:
            source: This rank's addends, one-dimensional and contiguous; stays as it is.
            result: Of the same length and dtype; may be the source itself.
            scale: What the sums are multiplied by.
            wire: What float32 values are rounded to between ranks. Sums are rounded too, so that
                all ranks get the same; other dtypes travel as they are.

        Raises:
            StalledError: A neighbour was silent for too long.
            TrainingError: It is gone.
        """
        sums: Sums
        # Numbers that are not finite travel like others; whoever cares looks at the result.
        with self._turn(), np.errstate(over="ignore", invalid="ignore"):
            if self.world_size == 1:
                np.multiply(source, source.dtype.type(scale), out=result)
                return
            if wire is not None and source.dtype == np.float32:
                if self._scratch.dtype != wire or self._scratch.size < source.size:
                    self._scratch = np.empty(source.size, wire)
                sums = NarrowSums(source, result, scale=scale, scratch=self._scratch)
            else:
                sums = PlainSums(source, result, scale=scale)
            reduce_around(
                self._neighbours, sums, size=source.size, rank=self.rank, count=self.world_size
            )

    def all_gather(self, message: bytes) -> list[bytes]:
        """Everyone's message, by rank.

        Raises:
            StalledError: A neighbour was silent for too long.
            TrainingError: It is gone.
        """
        messages = {self.rank: message}
        passing, owner = message, self.rank
        with self._turn():
            for _ in range(self.world_size - 1):
                self._send(LENGTH.pack(len(passing)))
                self._send(passing)
                (length,) = LENGTH.unpack(self._neighbours.receive(LENGTH.size))
                passing, owner = self._receive(length), (owner - 1) % self.world_size
                messages[owner] = passing
            self._neighbours.flush()
        return [messages[rank] for rank in range(self.world_size)]

    def expect_answers_within(self, timeout_s: float) -> None:
        """Wait so long for a silent neighbour from the next call on."""
        self._neighbours.timeout_s = timeout_s

    def close(self) -> None:
        """Close both connections; peers that still wait get an error, not a hang."""
        self.background.close()
        if self._turns.acquire(blocking=False):  # else a call is being broken off
            if self.failure is None:
                self._neighbours.finish(FINISH_TIMEOUT_S)
            self._turns.release()
        for connection in (self._next, self._previous):
            with suppress(OSError):  # the peer may have closed it
                connection.shutdown(socket.SHUT_RDWR)  # wakes this process's own waiting threads
            connection.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._turns:
            if self.failure is not None:
                raise self.failure
            try:
                yield
            except TrainingError as error:
                self.failure = error
                raise

    def _send(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            self._neighbours.send(memoryview(data)[start : start + PIECE_BYTES])

    def _receive(self, length: int) -> bytes:
        data = memoryview(bytearray(length))
        for start in range(0, length, PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            self._neighbours.receive(len(piece), piece)
        return bytes(data)


def _presents(connection: socket.socket, token: bytes) -> bool:
    connection.settimeout(STRANGER_TIMEOUT_S)
    try:
        return hmac.compare_digest(received_exactly(connection, TOKEN_BYTES), token)
    except OSError:
        return False  # a port scan, say: silent, or gone again
