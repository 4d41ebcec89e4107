"""Sums over workers by a ring of plain TCP connections, for workers without a GPU interconnect.

Reduce-scatter and all-gather around a ring (Patarasuk and Yuan, "Bandwidth optimal all-reduce
algorithms for clusters of workstations", JPDC 2009): every rank sends and receives 2 (N-1)/N of the
data, whatever N is. Each chunk is summed once, in ring order, and then passed on as it is, so all
ranks end with the same bits.
"""

import hmac
import queue
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from shardline.errors import TrainingError

CONNECT_TIMEOUT_S = 60.0
# A peer sends its token at once.
STRANGER_TIMEOUT_S = 5.0
# A peer may legitimately be this late: it traces its graph or waits for a slow store.
PEER_TIMEOUT_S = 600.0
# Received pieces are summed while the next one is in flight.
PIECE_BYTES = 1 << 20
TOKEN_BYTES = 32


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

    Args:
        rank: This worker's number.
        addresses: Listening address of every rank.
        listener: This rank's listener.
        token: 32 secret bytes that all ranks share; strangers are refused.
    """

    def __init__(
        self,
        rank: int,
        *,
        addresses: Sequence[tuple[str, int]],
        listener: Listener,
        token: bytes,
    ) -> None:
        self.rank = rank
        self.world_size = len(addresses)
        self.host = addresses[rank][0]
        following = addresses[(rank + 1) % self.world_size]
        self._next = socket.create_connection(following, timeout=CONNECT_TIMEOUT_S)
        self._next.sendall(token)
        self._previous = listener.accept(token)
        listener.close()
        for connection in (self._next, self._previous):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(PEER_TIMEOUT_S)
        self._piece = np.empty(PIECE_BYTES, dtype=np.uint8)
        self._buffers: dict[np.dtype[Any], np.ndarray[Any, Any]] = {}
        self._sender = _Sender(self._next)

    def all_reduce(self, arrays: Sequence[Any]) -> list[Any]:
        """Element-wise sums over all ranks.

        Raises:
            TrainingError: A peer is gone or silent.
        """
        results: list[Any] = [None] * len(arrays)
        by_dtype: dict[np.dtype[Any], list[int]] = {}
        for index, array in enumerate(arrays):
            by_dtype.setdefault(array.dtype, []).append(index)
        for dtype, indices in by_dtype.items():
            flat = self._flat(dtype, sum(arrays[index].size for index in indices))
            np.concatenate([arrays[index].ravel() for index in indices], out=flat)
            self._sum_in_place(flat)
            start = 0
            for index in indices:
                size = arrays[index].size
                # A copy: the buffer belongs to the next call, the result to TensorFlow.
                results[index] = flat[start : start + size].reshape(arrays[index].shape).copy()
                start += size
        return results

    def all_gather(self, message: bytes) -> list[bytes]:
        """Everyone's message, by rank.

        Raises:
            TrainingError: A peer is gone or silent.
        """
        messages = {self.rank: message}
        passing, owner = message, self.rank
        for _ in range(self.world_size - 1):
            self._sender.send(struct.pack("<Q", len(passing)) + passing)
            (length,) = struct.unpack("<Q", self._receive(8))
            passing, owner = bytes(self._receive(length)), (owner - 1) % self.world_size
            messages[owner] = passing
        self._sender.flush()
        return [messages[rank] for rank in range(self.world_size)]

    def close(self) -> None:
        """Close both connections; peers that still wait get an error, not a hang."""
        self._sender.close()
        for connection in (self._next, self._previous):
            connection.close()

    def _flat(self, dtype: "np.dtype[Any]", size: int) -> "np.ndarray[Any, Any]":
        buffer = self._buffers.get(dtype)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[dtype] = np.empty(size, dtype=dtype)
        return buffer[:size]

    def _sum_in_place(self, flat: "np.ndarray[Any, Any]") -> None:
        count = self.world_size
        bounds = [flat.size * part // count for part in range(count + 1)]
        chunks = [flat[bounds[part] : bounds[part + 1]] for part in range(count)]
        for hop in range(count - 1):  # afterwards this rank holds the sum of one chunk
            self._sender.send(_as_bytes(chunks[(self.rank - hop) % count]))
            self._receive_into(chunks[(self.rank - hop - 1) % count], add=True)
        for hop in range(count - 1):  # and then passes sums around until all have all
            self._sender.send(_as_bytes(chunks[(self.rank - hop + 1) % count]))
            self._receive_into(chunks[(self.rank - hop) % count], add=False)
        self._sender.flush()

    def _receive_into(self, chunk: "np.ndarray[Any, Any]", *, add: bool) -> None:
        try:
            if not add:
                _receive_exactly(self._previous, _as_bytes(chunk))
                return
            per_piece = PIECE_BYTES // chunk.itemsize
            for start in range(0, chunk.size, per_piece):
                part = chunk[start : start + per_piece]
                received = self._piece[: part.nbytes].view(chunk.dtype)
                _receive_exactly(self._previous, _as_bytes(received))
                np.add(part, received, out=part)
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, length: int) -> bytearray:
        try:
            return _receive(self._previous, length)
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> TrainingError:
        previous = (self.rank - 1) % self.world_size
        return TrainingError(f"rank {self.rank} lost its peer, rank {previous}: {error}.")


class _Sender:
    """Sends from a thread of its own: if all ranks sent first, full socket buffers would deadlock.

    Args:
        connection: Where to.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending: queue.SimpleQueue[bytes | memoryview | threading.Event | None] = (
            queue.SimpleQueue()
        )
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="ring-sender", daemon=True)
        self._thread.start()

    def send(self, data: bytes | memoryview) -> None:
        """Queue data; it must not change before `flush` returns."""
        self._pending.put(data)

    def flush(self) -> None:
        """Wait until everything queued is handed to the kernel."""
        done = threading.Event()
        self._pending.put(done)
        done.wait()
        if self._failure is not None:
            raise TrainingError(f"the next worker of the ring is gone: {self._failure}.")

    def close(self) -> None:
        """End the thread."""
        self._pending.put(None)

    def _run(self) -> None:
        while (item := self._pending.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            elif self._failure is None:
                try:
                    self._connection.sendall(item)
                except OSError as error:
                    self._failure = error


def _presents(connection: socket.socket, token: bytes) -> bool:
    connection.settimeout(STRANGER_TIMEOUT_S)
    try:
        return hmac.compare_digest(_receive(connection, TOKEN_BYTES), token)
    except OSError:
        return False  # a port scan, say: silent, or gone again


def _as_bytes(array: "np.ndarray[Any, Any]") -> memoryview:
    return array.view(np.uint8).data if array.size else memoryview(b"")


def _receive(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    _receive_exactly(connection, memoryview(data))
    return data


def _receive_exactly(connection: socket.socket, view: memoryview) -> None:
    while len(view):
        received = connection.recv_into(view)
        if received == 0:
            raise ConnectionResetError("it closed the connection")
        view = view[received:]
