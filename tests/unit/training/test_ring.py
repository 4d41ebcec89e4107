"""The TCP ring between workers: exact sums, equal bits, no hang when a peer goes."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rings import with_ring

from shardline.errors import TrainingError
from shardline.training.exchange import Alone
from shardline.training.ring import Listener


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_all_reduce_mixed_arrays_gives_the_same_sums_on_all_ranks(world_size):
    def arrays(rank):
        rng = np.random.default_rng(rank)
        return [
            rng.normal(size=(300, 2000)).astype("float32"),  # several pieces
            np.float32(rank),  # a scalar variable's value
            np.arange(5, dtype="int64") + rank,
            np.zeros((0, 3), "float32"),
            rng.normal(size=7).astype("float64"),
        ]

    results = with_ring(world_size, lambda ring: ring.all_reduce(arrays(ring.rank)))
    for index, first in enumerate(results[0]):
        expected = sum(np.asarray(arrays(rank)[index], "float64") for rank in range(world_size))
        np.testing.assert_allclose(first, expected, atol=1e-5)
        assert all(np.array_equal(result[index], first) for result in results)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=6), world_size=st.integers(2, 4))
def test_all_reduce_any_sizes_equals_numpy(sizes, world_size):
    def arrays(rank):
        return [np.arange(size, dtype="int32") * (rank + 1) for size in sizes]

    results = with_ring(world_size, lambda ring: ring.all_reduce(arrays(ring.rank)))
    factor = sum(range(1, world_size + 1))
    for result in results:
        for size, total in zip(sizes, result, strict=True):
            assert total.tolist() == [value * factor for value in range(size)]


def test_all_reduce_result_survives_the_next_call():
    def body(ring):
        first = ring.all_reduce([np.full(4, 1.0, "float32")])[0]
        ring.all_reduce([np.full(4, 9.0, "float32")])
        return first.tolist()

    assert with_ring(2, body) == [[2.0] * 4] * 2


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_all_gather_messages_of_any_length_come_by_rank(world_size):
    def body(ring):
        return ring.all_gather(b"x" * ring.rank * 1000)

    expected = [b"x" * rank * 1000 for rank in range(world_size)]
    assert with_ring(world_size, body) == [expected] * world_size


def test_all_reduce_peer_gone_is_an_error_not_a_hang():
    gone = threading.Event()

    def body(ring):
        if ring.rank == 1:
            ring.close()
            gone.set()
            return None
        assert gone.wait(10)
        with pytest.raises(TrainingError, match="rank 0 lost its peer, rank 1"):
            ring.all_reduce([np.zeros(10, "float32")])
        return "noticed"

    assert with_ring(2, body) == ["noticed", None]


def test_listener_stranger_is_turned_away_and_the_peer_let_in():
    import socket

    token = os.urandom(32)
    listener = Listener("127.0.0.1")
    socket.create_connection(listener.address).close()  # a port scan
    stranger = socket.create_connection(listener.address)
    stranger.sendall(b"?" * 32)
    peer = socket.create_connection(listener.address)
    peer.sendall(token)
    accepted = listener.accept(token)
    assert accepted.getpeername() == peer.getsockname()
    assert stranger.recv(1) == b""
    for connection in (stranger, peer, accepted):
        connection.close()
    listener.close()


def test_alone_sums_and_messages_are_its_own():
    array = np.arange(3)
    assert Alone().all_reduce([array])[0] is array
    assert Alone().all_gather(b"me") == [b"me"]
