"""Sums over two CPU workers: the TCP ring, TensorFlow's collectives, and the loopback's own speed.

    python benchmarks/exchange.py [--repeats 9]

Two processes of one thread each take the three in turn, for the gradients of a small and of a large
model. The limit is the same number of bytes sent both ways through plain sockets, nothing summed.
"""

import argparse
import multiprocessing
import os
import secrets
import statistics
import threading
import time
from collections.abc import Callable

import numpy as np

from shardline.training.ring import Listener, TcpRing

SIZES = {"77 k float32": 77_000, "4.3 M float32": 4_300_000, "25 M float32": 25_000_000}


def main() -> None:
    """Start both ranks and print what rank 0 measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    context = multiprocessing.get_context("spawn")
    addresses = context.Queue(), context.Queue()
    token = secrets.token_bytes(32)
    ranks = [
        context.Process(target=run_rank, args=(rank, addresses, token, repeats)) for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()


def run_rank(rank: int, addresses: tuple, token: bytes, repeats: int) -> None:
    """One worker: connect, then measure in step with the other."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    listener = Listener("127.0.0.1")
    for queue in addresses:
        queue.put((rank, listener.address))
    found = dict(addresses[rank].get() for _ in range(2))
    ring = TcpRing(rank, addresses=[found[0], found[1]], listener=listener, token=token)

    import tensorflow as tf

    from shardline.training.gradients import CollectiveSums

    tf.config.threading.set_intra_op_parallelism_threads(1)
    collectives = CollectiveSums(ring, use_gpu=False)
    collective_sum = tf.function(lambda tensor: collectives.over_ranks([tensor])[0])
    for name, size in SIZES.items():
        array = np.random.default_rng(rank).normal(size=size).astype("float32")
        tensor = tf.constant(array)
        candidates: dict[str, Callable[[], object]] = {
            "ring": lambda array=array: ring.all_reduce([array]),
            "collectives": lambda tensor=tensor: collective_sum(tensor).numpy(),
            "limit": lambda array=array: echo(ring, array),
        }
        times = measure(ring, candidates, repeats)
        if rank == 0:
            report(name, times, size * 4)


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


def echo(ring: TcpRing, array: np.ndarray) -> None:
    """Send as many bytes as an all-reduce of two sends, and receive as many, with no arithmetic."""
    sender = threading.Thread(target=ring._next.sendall, args=(array.view(np.uint8).data,))
    sender.start()
    ring._receive(array.nbytes)
    sender.join()


def report(name: str, times: dict[str, list[float]], num_bytes: int) -> None:
    """One line per candidate: median, spread and ratio to the ring."""
    ring_s = statistics.median(times["ring"])
    for candidate, values in times.items():
        median_s = statistics.median(values)
        print(
            f"{name:14} {candidate:12} median {median_s * 1e3:8.2f} ms "
            f"({min(values) * 1e3:.2f} to {max(values) * 1e3:.2f})  "
            f"{num_bytes / median_s / 1e9:5.2f} GB/s  {median_s / ring_s:5.2f} x the ring's time",
            flush=True,
        )


if __name__ == "__main__":
    main()
