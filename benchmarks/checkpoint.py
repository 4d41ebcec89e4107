"""Checkpoints of a 25 M-parameter Adam model to S3: what they cost the training beside them.

    python benchmarks/checkpoint.py [--rounds 5] [--workers 1] [--checkpoints 5]

Three runs take turns: with no checkpoint, with one every 20 steps in the background, as shardline
writes them, and with one every 20 steps that training waits for. They are worker processes of one
TensorFlow thread without Ray, and the S3 server is moto in a process of its own: with one worker it
has the second of two cores, as if it were another machine. Wall time is that from step to step,
without the first ones and without the checkpoint that ends every run.
"""

import argparse
import multiprocessing
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from rig import (
    image_line,
    listen,
    read_stamps,
    show,
    show_ratio,
    spec_of,
    stamped,
    train_alone,
    train_joined,
)

import shardline
from shardline.cluster.ports import free_port, is_port_free
from shardline.store import Store
from shardline.training.run import discard_run

EVERY_STEPS = 20
SKIPPED_STEPS = 5
LOCAL_BATCH = 64
GOAL, LIMIT, BLOCKING_LIMIT = 1.02, 1.05, 0.2
CASES = ("none", "background", "waited for")
SERVER_START_TIMEOUT_S = 60


@dataclass(frozen=True)
class Measured:
    """One run."""

    wall_s: float
    saves_s: list[float]
    """How long training stood still at each checkpoint, on the rank where it did longest."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--checkpoints", type=int, default=5)
    arguments = parser.parse_args()
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with s3_server() as uri, tempfile.TemporaryDirectory() as folder:
        steps = EVERY_STEPS * (arguments.checkpoints + 1)
        batch = LOCAL_BATCH * arguments.workers
        line = image_line(Path(folder), rows=steps * batch, store=uri)
        spec = spec_of(line, params={"size": "25m"}, workers=arguments.workers, global_batch=batch)
        with processes(arguments.workers) as workers:
            report(measure(workers, spec, line, Path(folder), arguments.rounds))


def measure(
    workers: "Workers", spec: shardline.Spec, line: Any, folder: Path, rounds: int
) -> dict[str, list[Measured]]:
    """All cases in turn, every other round backwards; the first round is not counted."""
    found: dict[str, list[Measured]] = {case: [] for case in CASES}
    for number in range(rounds + 1):
        for case in CASES if number % 2 else reversed(CASES):
            stamps = folder / f"{case}-{number}"
            run = spec_of(
                line,
                params=spec.model.params,
                run=f"run-{number}",
                workers=spec.train.workers,
                global_batch=spec.train.global_batch,
                callbacks=stamped(stamps),
                checkpoint={"every_steps": 10**6 if case == "none" else EVERY_STEPS, "keep": 1},
            )
            saves = workers.train(run, waiting=case == "waited for")
            times = read_stamps(stamps)
            wall_s = max(each[-1] - each[SKIPPED_STEPS] for each in times)
            # The last one ends the run; it is waited for in any case.
            slowest = [max(of_rank) for of_rank in zip(*saves, strict=True)][:-1]
            print(f"  round {number}: {case} {wall_s:.2f} s", flush=True)
            if number:
                found[case].append(Measured(wall_s, slowest))
            discard_run(Store(spec.store), run.run_name)
    return found


def report(found: dict[str, list[Measured]]) -> None:
    """Print ratios with their limits."""
    walls = {case: [run.wall_s for run in runs] for case, runs in found.items()}
    for case, values in walls.items():
        show(f"wall time, checkpoints: {case}", values, "s")
    for case in CASES[1:]:
        show_ratio(f"wall time, {case} / none", walls[case], walls["none"])
    saves = {case: np.concatenate([run.saves_s for run in found[case]]) for case in CASES[1:]}
    whole_s = statistics.median(saves["waited for"])
    show("a checkpoint that is waited for", saves["waited for"], "s")
    for percent in (50, 99):
        blocked_s = float(np.percentile(saves["background"], percent))
        print(
            f"training stands still, p{percent}: {blocked_s * 1e3:.0f} ms, "
            f"{blocked_s / whole_s:.3f} x a checkpoint that is waited for"
        )
    print(f"limits: wall {LIMIT} x (goal {GOAL} x), p99 {BLOCKING_LIMIT} x")


class Workers:
    """Plain processes that train, one run after the other."""

    def __init__(self, pools: list[ProcessPoolExecutor]) -> None:
        self._pools = pools

    def train(self, spec: shardline.Spec, *, waiting: bool) -> list[list[float]]:
        """Train; seconds of every save, by rank."""
        listening = [pool.submit(listen) for pool in self._pools]
        addresses = [future.result() for future in listening]
        meeting = (addresses, secrets.token_bytes(32))
        futures = [
            pool.submit(train_timed, spec, rank, meeting, waiting)
            for rank, pool in enumerate(self._pools)
        ]
        return [future.result() for future in futures]


@contextmanager
def processes(count: int) -> Iterator[Workers]:
    """That many worker processes for the length of the block."""
    context = multiprocessing.get_context("spawn")
    pools = [ProcessPoolExecutor(1, mp_context=context) for _ in range(count)]
    try:
        yield Workers(pools)
    finally:
        for pool in pools:
            pool.shutdown()


def train_timed(spec: shardline.Spec, rank: int, meeting: Any, waiting: bool) -> list[float]:
    """Train in this process and note how long each save held training up."""
    from shardline.training.callbacks import Record

    save, times_s = Record._save, []

    def timed(record: Any) -> None:
        began_s = time.perf_counter()
        save(record)
        if waiting:
            record._recorder.wait()
        times_s.append(time.perf_counter() - began_s)

    Record._save = timed
    try:
        if spec.train.workers == 1:
            train_alone(spec)
        else:
            train_joined(spec, rank, *meeting)
    finally:
        Record._save = save
    return times_s


@contextmanager
def s3_server() -> Iterator[str]:
    """URI of a store on an S3 server in a process of its own."""
    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    # Objects stay in memory: what the server's disk does is not measured.
    environment = os.environ | {"MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 30)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, env=environment, **quiet)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        deadline_s = time.monotonic() + SERVER_START_TIMEOUT_S
        while is_port_free("127.0.0.1", port) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        boto3.client("s3").create_bucket(Bucket="benchmark")
        yield "s3://benchmark/store"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
