"""Sums over two CPU workers: the ring, TensorFlow's all_reduce, and the loopback's own speed.

    python benchmarks/exchange.py [--repeats 9]

Two processes of one thread each take them in turn, for the gradients of a small and of two large
models. The ring goes through shared memory, as between workers of one machine, and over TCP, as
between machines, with values of 32 and of 16 bits. The peer is `all_reduce` as
`MultiWorkerMirroredStrategy` calls it. The limit is the same number of bytes sent both ways through
plain sockets, nothing summed.
"""

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from shardline.cluster.ports import free_port
from shardline.training.exchange.ring import Listener, TcpRing
from shardline.training.memory import keep_freed_memory

SIZES = {"77 k float32": 77_000, "4.3 M float32": 4_300_000, "25 M float32": 25_000_000}
HOST = "127.0.0.1"


def main() -> None:
    """Start both ranks and print what rank 0 measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    context = multiprocessing.get_context("spawn")
    addresses = context.Queue(), context.Queue()
    ports = [free_port(HOST) for _ in range(2)]
    ranks = [
        context.Process(target=run_rank, args=(rank, addresses, ports, repeats)) for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()


def run_rank(rank: int, addresses: tuple, ports: list[int], repeats: int) -> None:
    """One worker: connect, then measure in step with the other."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    keep_freed_memory()
    shared = connect(rank, addresses, shares_memory=True)
    over_tcp = connect(rank, addresses, shares_memory=False)
    plain = plain_sockets(rank, addresses)

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    all_reduce = mirrored_all_reduce(rank, ports)
    bfloat16 = np.dtype(tf.bfloat16.as_numpy_dtype)
    for name, size in SIZES.items():
        array = np.random.default_rng(rank).normal(size=size).astype("float32")
        result = np.ones(size, "float32")
        tensor = tf.constant(array)
        candidates: dict[str, Callable[[], object]] = {
            "shared memory": lambda a=array, r=result: shared.sum_into(a, r),
            "TCP": lambda a=array, r=result: over_tcp.sum_into(a, r),
            "shared memory, 16 bits": lambda a=array, r=result: shared.sum_into(
                a, r, wire=bfloat16
            ),
            "TCP, 16 bits": lambda a=array, r=result: over_tcp.sum_into(a, r, wire=bfloat16),
            "TensorFlow": lambda tensor=tensor: all_reduce(tensor).numpy(),
            "limit": lambda array=array: echo(plain, array),
        }
        times = measure(over_tcp, candidates, repeats)
        if rank == 0:
            report(name, times, size * 4)
    shared.close()
    over_tcp.close()


def connect(rank: int, addresses: tuple, *, shares_memory: bool) -> TcpRing:
    """A ring of both processes."""
    listener = Listener(HOST)
    found = swap(rank, addresses, listener.address)
    return TcpRing(
        rank,
        addresses=found,
        listener=listener,
        token=b"benchmark".ljust(32),
        shares_memory=shares_memory,
    )


def plain_sockets(rank: int, addresses: tuple) -> tuple[socket.socket, socket.socket]:
    """A connection to the other process and one from it."""
    server = socket.create_server((HOST, 0))
    found = swap(rank, addresses, server.getsockname())
    outgoing = socket.create_connection(found[1 - rank])
    return outgoing, server.accept()[0]


def swap(rank: int, queues: tuple, value: object) -> list[Any]:
    """Both ranks' values, by rank."""
    queues[1 - rank].put(value)
    other = queues[rank].get()
    return [value, other] if rank == 0 else [other, value]


def mirrored_all_reduce(rank: int, ports: list[int]) -> Callable[[Any], Any]:
    """What a `MultiWorkerMirroredStrategy` with default options does with a gradient."""
    import tensorflow as tf

    workers = [f"{HOST}:{port}" for port in ports]
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def in_replica(tensor: Any) -> Any:
        with tf.device(strategy.extended.worker_devices[0]):
            pinned = tf.identity(tensor)
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, pinned)

    return tf.function(lambda tensor: strategy.run(in_replica, args=(tensor,)))


def measure(ring: TcpRing, candidates: dict, repeats: int) -> dict[str, list[float]]:
    """Seconds of each candidate, taken in turn, both ranks starting together."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats + 1):
        for name, call in candidates.items():
            ring.all_gather(b"ready")
            began_s = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began_s)
    return {name: values[1:] for name, values in times.items()}  # the first one warms up


def echo(connections: tuple[socket.socket, socket.socket], array: np.ndarray) -> None:
    """Send as many bytes as an all-reduce of two sends, and receive as many, with no arithmetic."""
    outgoing, incoming = connections
    sender = threading.Thread(target=outgoing.sendall, args=(array.view(np.uint8).data,))
    sender.start()
    left, target = array.nbytes, memoryview(bytearray(1 << 20))
    while left:
        left -= incoming.recv_into(target[: min(left, len(target))])
    sender.join()


def report(name: str, times: dict[str, list[float]], num_bytes: int) -> None:
    """One line per candidate: median, spread and the peer's ratio to it, round by round."""
    for candidate, values in times.items():
        median_s = statistics.median(values)
        ratios = [peer / own for peer, own in zip(times["TensorFlow"], values, strict=True)]
        print(
            f"{name:14} {candidate:22} median {median_s * 1e3:8.2f} ms "
            f"({min(values) * 1e3:.2f} to {max(values) * 1e3:.2f})  "
            f"{num_bytes / median_s / 1e9:5.2f} GB/s  TensorFlow takes "
            f"{statistics.median(ratios):5.2f} x ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
