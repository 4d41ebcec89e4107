"""Steps of a first epoch streamed from S3, every request 20 ms late, against a batch at hand.

    python benchmarks/s3_latency.py [--steps 200] [--rounds 3] [--batch 256 1024]

Images of 784 bytes in shards of 2 MB, read by the training stream of one worker, which fills the
machine's cache on the way. A step sleeps for 50 ms, which leaves the processors alone as a GPU
does. The limit is the same loop over a batch that is there already. The server's answers come from
a process beside it (`slow_server.py`), with the latency and without.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from feeding import IMAGES, write_dataset
from rig import HERE, interleaved, show, show_ratio

from shardline.artifacts.checkpoint import Cursor
from shardline.cluster.ports import free_port, is_port_free
from shardline.data.manifest import load_dataset
from shardline.data.shards import ShardSize
from shardline.spec.train import CacheSpec, TrainSpec
from shardline.store import Store

SHARD_BYTES = 2 << 20
STEP_S = 0.05
LATENCY_S = 0.02
NOTABLE_S = 0.005
GOAL, LIMIT = 1.01, 1.05
SERVER_START_TIMEOUT_S = 60


@dataclass(frozen=True)
class Waits:
    """How long steps waited for their batches."""

    first_s: float
    later_s: list[float]

    def __str__(self) -> str:
        long = [(s, number) for number, s in enumerate(self.later_s, start=1) if s > NOTABLE_S]
        longest = ", ".join(f"{1e3 * s:.0f} ms at {number}" for s, number in sorted(long)[:-6:-1])
        return (
            f"first batch after {self.first_s:.2f} s; {len(self.later_s)} more waited for "
            f"{sum(self.later_s):.2f} s, {len(long)} over {1e3 * NOTABLE_S:.0f} ms ({longest})"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024])
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with servers(LATENCY_S, 0.0) as (late, prompt), tempfile.TemporaryDirectory() as folder:
        for batch in options.batch:
            rows = options.steps * batch
            copied(Path(folder, str(batch)), rows, Store(f"s3://benchmark/{batch}"), prompt)
            measure(Store(f"s3://benchmark/{batch}"), batch, options.rounds, (late, prompt))


def copied(folder: Path, rows: int, store: Store, endpoint: str) -> None:
    """Write the dataset in a folder, then to S3."""
    write_dataset(folder, "images", rows, ShardSize(target_bytes=SHARD_BYTES))
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.write(str(path.relative_to(folder)), path.read_bytes())


def measure(store: Store, batch: int, rounds: int, endpoints: tuple[str, str]) -> None:
    """One table."""
    late, prompt = endpoints
    said: list[str] = []

    def streamed(endpoint: str) -> float:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        with tempfile.TemporaryDirectory() as cache:
            waits = waits_of(first_epoch(store, batch, Path(cache)))
        said.append(f"  {'late' if endpoint == late else 'prompt'}: {waits}")
        return mean_step_s(waits)

    def resident() -> float:
        return mean_step_s(waits_of(repeated(store, batch)))

    for endpoint in endpoints:
        streamed(endpoint)  # the servers remember what is asked for
    said.clear()
    found = interleaved(
        rounds,
        {
            "late": lambda: streamed(late),
            "prompt": lambda: streamed(prompt),
            "resident": resident,
        },
    )
    print("\n".join(said))
    print(f"batches of {batch}")
    show(f"step, {1e3 * LATENCY_S:.0f} ms of latency", found["late"], "s")
    show("step, no latency", found["prompt"], "s")
    show("step, one batch repeated", found["resident"], "s")
    show_ratio("latency / repeated", found["late"], found["resident"])
    show_ratio("no latency / repeated", found["prompt"], found["resident"])
    print(f"limit {LIMIT} x (goal {GOAL} x)")


def first_epoch(store: Store, batch: int, cache: Path) -> Any:
    """What a single worker trains on."""
    from shardline.training.stream import TrainStream

    train = TrainSpec(
        global_batch=batch, cache=CacheSpec(dir=f"file://{cache}"), cpus_per_worker=2, epochs=2
    )
    dataset = load_dataset(store, "images")
    stream = TrainStream(dataset, train, store=store, columns=IMAGES, rank=0, world_size=1)
    return stream.dataset(Cursor(epoch=0, step=0), stop_epoch=1)


def repeated(store: Store, batch: int) -> Any:
    """One batch as often as the dataset has some."""
    import tensorflow as tf

    images = tf.zeros((batch, *IMAGES[0].shape), tf.uint8)
    labels = tf.zeros((batch, 1), tf.int64)
    steps = load_dataset(store, "images").split("train").rows // batch
    return tf.data.Dataset.from_tensors(({IMAGES[0].name: images}, labels)).repeat(steps)


def waits_of(batches: Iterable[Any]) -> Waits:
    """Take the batches one after the other, with a step after each."""
    found, asked_s = [], time.perf_counter()
    for _ in batches:
        found.append(time.perf_counter() - asked_s)
        time.sleep(STEP_S)
        asked_s = time.perf_counter()
    return Waits(found[0], found[1:])


def mean_step_s(waits: Waits) -> float:
    """Of all steps but the first, which waits for the start."""
    return STEP_S + statistics.fmean(waits.later_s)


@contextmanager
def servers(*latencies_s: float) -> Iterator[list[str]]:
    """Endpoints of one S3 server, with each of these latencies."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    moto, *ports = (free_port("127.0.0.1") for _ in range(1 + len(latencies_s)))
    commands = [[sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(moto)]]
    for port, latency_s in zip(ports, latencies_s, strict=True):
        arguments = [str(port), str(moto), str(latency_s)]
        commands.append([sys.executable, str(HERE / "slow_server.py"), *arguments])
    with ExitStack() as stack:
        for command in commands:
            quiet = subprocess.DEVNULL
            server = subprocess.Popen(command, stdout=quiet, stderr=quiet)
            stack.callback(server.wait)
            stack.callback(server.terminate)
        deadline_s = time.monotonic() + SERVER_START_TIMEOUT_S
        for port in (moto, *ports):
            while is_port_free("127.0.0.1", port) and time.monotonic() < deadline_s:
                time.sleep(0.1)
        endpoints = [f"http://127.0.0.1:{port}" for port in ports]
        boto3.client("s3", endpoint_url=endpoints[-1]).create_bucket(Bucket="benchmark")
        yield endpoints


if __name__ == "__main__":
    main()
