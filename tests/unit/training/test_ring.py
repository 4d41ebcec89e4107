"""The ring between workers: exact sums, equal bits, no hang when a peer goes."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rings import with_ring

from shardline.errors import StalledError, TrainingError
from shardline.training.exchange import shared_memory
from shardline.training.exchange.links import PIECE_BYTES, SocketReceiver, SocketSender
from shardline.training.exchange.peers import Alone
from shardline.training.exchange.ring import Listener, TcpRing

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SIZES = [0, 1, 7, PIECE_BYTES // 4 * 3 + 1, PIECE_BYTES * 3]
"""Nothing, fewer than ranks, and over several pieces and all slots."""


@pytest.fixture(params=["shared memory", "TCP"])
def links(request):
    """The two ways of bytes between neighbours."""
    return {"shares_memory": request.param == "shared memory"}


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_all_reduce_mixed_arrays_gives_the_same_sums_on_all_ranks(world_size, links):
    def arrays(rank):
        rng = np.random.default_rng(rank)
        return [
            rng.normal(size=(300, 2000)).astype("float32"),  # several pieces
            np.float32(rank),  # a scalar variable's value
            np.arange(5, dtype="int64") + rank,
            np.zeros((0, 3), "float32"),
            rng.normal(size=7).astype("float64"),
        ]

    results = with_ring(world_size, lambda ring: ring.all_reduce(arrays(ring.rank)), **links)
    for index, first in enumerate(results[0]):
        expected = sum(np.asarray(arrays(rank)[index], "float64") for rank in range(world_size))
        np.testing.assert_allclose(first, expected, atol=1e-5)
        assert all(np.array_equal(result[index], first) for result in results)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_sum_into_any_size_scales_the_sums_and_leaves_the_addends(world_size, size, links):
    def addends(rank):
        return np.random.default_rng(rank).normal(size=size).astype("float32")

    def body(ring):
        source, result = addends(ring.rank), np.empty(size, "float32")
        ring.sum_into(source, result, scale=1 / world_size)
        np.testing.assert_array_equal(source, addends(ring.rank))
        ring.sum_into(source, source, scale=1 / world_size)
        np.testing.assert_array_equal(source, result)
        return result

    results = with_ring(world_size, body, **links)
    mean = np.mean([addends(rank).astype("float64") for rank in range(world_size)], axis=0)
    np.testing.assert_allclose(results[0], mean, atol=1e-6)
    assert all(result.tobytes() == results[0].tobytes() for result in results)


@pytest.mark.parametrize("world_size", [2, 3])
def test_sum_into_16_bit_wire_is_near_and_equal_on_all_ranks(world_size, links):
    size = SIZES[-1]

    def addends(rank):
        return np.random.default_rng(rank).normal(size=size).astype("float32")

    def body(ring):
        result = np.empty(size, "float32")
        ring.sum_into(addends(ring.rank), result, scale=1 / world_size, wire=BFLOAT16)
        return result

    results = with_ring(world_size, body, **links)
    mean = np.mean([addends(rank) for rank in range(world_size)], axis=0)
    np.testing.assert_allclose(results[0], mean, atol=3e-2)
    assert all(result.tobytes() == results[0].tobytes() for result in results)
    again = results[0].astype(BFLOAT16).astype("float32")
    np.testing.assert_array_equal(again, results[0])  # the last sum was rounded too


def test_sum_into_16_bit_wire_leaves_other_dtypes_alone():
    def body(ring):
        result = np.empty(3, "float64")
        ring.sum_into(np.full(3, 1 / 3), result, wire=BFLOAT16)
        return result.tolist()

    assert with_ring(2, body) == [[2 / 3] * 3] * 2


def test_sum_into_not_finite_stays_so_on_every_rank():
    values = np.array([np.nan, np.inf, -np.inf, 3e38, 1.0], "float32")

    def body(ring):
        result = np.empty(5, "float32")
        ring.sum_into(values, result, wire=BFLOAT16)
        return result

    for result in with_ring(2, body):
        assert np.isnan(result[0])
        assert result[1:4].tolist() == [np.inf, -np.inf, np.inf]
        assert result[4] == 2.0


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


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_all_gather_messages_of_any_length_come_by_rank(world_size, links):
    def body(ring):
        return ring.all_gather(b"x" * ring.rank * PIECE_BYTES)

    expected = [b"x" * rank * PIECE_BYTES for rank in range(world_size)]
    assert with_ring(world_size, body, **links) == [expected] * world_size


def test_all_reduce_peer_gone_is_an_error_not_a_hang(links):
    gone = threading.Event()

    def body(ring):
        if ring.rank == 1:
            ring.close()
            gone.set()
            return None
        assert gone.wait(10)
        with pytest.raises(TrainingError, match="rank 0 lost its peer, rank 1") as first:
            ring.all_reduce([np.zeros(10, "float32")])
        assert not isinstance(first.value, StalledError)
        assert ring.failure is first.value
        with pytest.raises(TrainingError) as second:
            ring.all_gather(b"")
        assert second.value is first.value  # the stream is out of step: nothing may follow
        return "noticed"

    assert with_ring(2, body, **links) == ["noticed", None]


@pytest.mark.parametrize("size", [10, PIECE_BYTES * 8])
def test_all_reduce_peer_silent_names_both_ranks_and_the_time(size, links):
    noticed = threading.Event()

    def body(ring):
        if ring.rank == 1:
            assert noticed.wait(10)
            return None
        ring.expect_answers_within(0.2)
        with pytest.raises(StalledError, match=r"rank 0 waited 0.2 s for rank 1, which is"):
            ring.all_reduce([np.zeros(size, "float32")])
        noticed.set()
        return ring.failure is not None

    assert with_ring(2, body, **links) == [True, None]


def test_close_while_a_call_waits_ends_the_call():
    def body(ring):
        if ring.rank == 1:
            return None  # leaves the ring at once
        future = ring.background.submit(lambda: ring.all_reduce([np.zeros(1, "float32")]))
        ring.close()
        return isinstance(future.exception(timeout=10), TrainingError)

    assert with_ring(2, body) == [True, None]


def test_background_calls_are_made_in_order():
    def body(ring):
        futures = [
            ring.background.submit(lambda i=i: ring.all_gather(b"%d%d" % (ring.rank, i)))
            for i in range(5)
        ]
        return [future.result(timeout=10) for future in futures]

    assert with_ring(2, body) == [[[b"0%d" % i, b"1%d" % i] for i in range(5)]] * 2


def test_shared_memory_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)

    def body(ring):
        ring.all_gather(b"everyone is connected")
        return [type(link) for link in ring.links], list(tmp_path.iterdir())

    shared = [shared_memory.SharedSender, shared_memory.SharedReceiver]
    assert with_ring(2, body) == [(shared, [])] * 2


def test_shared_memory_that_cannot_be_had_is_replaced_by_tcp(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path / "missing")

    def body(ring):
        total = ring.all_reduce([np.ones(2, "float32")])[0]
        return [type(link) for link in ring.links], total.tolist()

    assert with_ring(2, body) == [([SocketSender, SocketReceiver], [2.0, 2.0])] * 2


def test_shared_memory_one_rank_that_declines_is_reached_over_tcp():
    token = os.urandom(32)
    listeners = [Listener("127.0.0.1") for _ in range(3)]
    addresses = [listener.address for listener in listeners]

    def rank_body(rank):
        ring = TcpRing(
            rank,
            addresses=addresses,
            listener=listeners[rank],
            token=token,
            shares_memory=rank != 1,
        )
        total = ring.all_reduce([np.full(2, rank, "float32")])[0]
        ring.close()
        return [type(link).__name__ for link in ring.links], total.tolist()

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(rank_body, range(3)))
    assert found == [
        (["SocketSender", "SharedReceiver"], [3.0, 3.0]),
        (["SocketSender", "SocketReceiver"], [3.0, 3.0]),
        (["SharedSender", "SocketReceiver"], [3.0, 3.0]),
    ]


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
