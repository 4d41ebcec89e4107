"""Checkpoints of a 25 M-parameter Adam model to S3: what they cost the training beside them.

    python benchmarks/checkpoint.py [--cycles 5] [--workers 1]

One run of worker processes of one TensorFlow thread, without Ray. Its steps come in blocks of 20,
and every block begins with a checkpoint in the background, as shardline takes them, with one that
training waits for, or with none, in turn. Only sending is this machine's work: the S3 server is
moto behind a process that takes large bodies off the wire and keeps none of them, since moto itself
spends 1.7 s of processor time on 300 MB, four times as much as the sender.
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
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from rig import (
    HERE,
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

EVERY_STEPS = 20
LOCAL_BATCH = 32
GOAL, LIMIT, BLOCKING_LIMIT = 1.02, 1.05, 0.2
NONE, BACKGROUND, WAITED_FOR = "none", "in the background", "waited for"
CYCLE = (BACKGROUND, NONE, WAITED_FOR, WAITED_FOR, NONE, BACKGROUND)
SERVER_START_TIMEOUT_S = 60


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # The first block traces the step, the last ends with the checkpoint of every run.
    steps = EVERY_STEPS * (2 + len(CYCLE) * arguments.cycles)
    batch = LOCAL_BATCH * arguments.workers
    with s3_server() as uri, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        line = image_line(folder, rows=steps * batch, store=uri)
        spec = spec_of(
            line,
            params={"size": "25m"},
            workers=arguments.workers,
            global_batch=batch,
            callbacks=stamped(folder / "stamps"),
            checkpoint={"every_steps": EVERY_STEPS, "keep": 1},
        )
        saves = train(spec)
        report(read_stamps(folder / "stamps"), saves)


def case_at(step: int) -> str | None:
    """What the block that begins after a step begins with; None inside a block."""
    block, inside = divmod(step, EVERY_STEPS)
    return None if inside or not block else CYCLE[(block - 1) % len(CYCLE)]


def report(stamps: list[np.ndarray], saves: list[dict[str, list[float]]]) -> None:
    """Print what blocks took, how long training stood still, and the limits."""
    blocks: dict[str, list[np.ndarray]] = {NONE: [], BACKGROUND: [], WAITED_FOR: []}
    slowest = max(stamps, key=lambda times: float(times[-1]))
    for start in range(EVERY_STEPS, len(slowest) - EVERY_STEPS, EVERY_STEPS):
        # Stamped before the checkpoint of that step is taken.
        steps_s = np.diff(slowest[start - 1 : start + EVERY_STEPS])
        blocks[case_at(start) or NONE].append(steps_s)
    walls = {
        case: [float(steps_s.sum()) for steps_s in of_case] for case, of_case in blocks.items()
    }
    for case, values in walls.items():
        show(f"20 steps, checkpoint: {case}", values, "s")
    # What others on the machine do hits some steps, what a checkpoint costs the same ones always.
    typical_s = {case: float(np.median(of_case, axis=0).sum()) for case, of_case in blocks.items()}
    for case in (BACKGROUND, WAITED_FOR):
        show_ratio(f"20 steps, checkpoint {case} / none", walls[case], walls[NONE])
        print(f"  the same from the median of each step: {typical_s[case] / typical_s[NONE]:.3f} x")
    by_case = {
        case: [max(of_ranks) for of_ranks in zip(*(rank[case] for rank in saves), strict=True)]
        for case in (BACKGROUND, WAITED_FOR)
    }
    whole_s = statistics.median(by_case[WAITED_FOR])
    for case, values in by_case.items():
        show(f"training stands still, {case}", values, "s")
    for percent in (50, 99):
        blocked_s = float(np.percentile(by_case[BACKGROUND], percent))
        print(f"p{percent} in the background / median waited for: {blocked_s / whole_s:.3f} x")
    print(f"limits: wall {LIMIT} x (goal {GOAL} x), p99 {BLOCKING_LIMIT} x")


def train(spec: shardline.Spec) -> list[dict[str, list[float]]]:
    """Train in processes of their own; seconds that saves held training up, by rank and case."""
    context = multiprocessing.get_context("spawn")
    pools = [ProcessPoolExecutor(1, mp_context=context) for _ in range(spec.train.max_workers)]
    try:
        addresses = [future.result() for future in [pool.submit(listen) for pool in pools]]
        meeting = (addresses, secrets.token_bytes(32))
        futures = [pool.submit(train_timed, spec, rank, meeting) for rank, pool in enumerate(pools)]
        return [future.result() for future in futures]
    finally:
        for pool in pools:
            pool.shutdown()


def train_timed(spec: shardline.Spec, rank: int, meeting: Any) -> dict[str, list[float]]:
    """Train in this process with checkpoints as the blocks say."""
    from shardline.training.checkpoints.record import Record

    save = Record._save
    times_s: dict[str, list[float]] = {BACKGROUND: [], WAITED_FOR: []}

    def timed(record: Any) -> None:
        case = case_at(record.global_step)
        if case is None or case == NONE:
            return
        began_s = time.perf_counter()
        save(record)
        if case == WAITED_FOR:
            record._recorder.wait()
        times_s[case].append(time.perf_counter() - began_s)

    Record._save = timed
    if spec.train.max_workers == 1:
        train_alone(spec)
    else:
        train_joined(spec, rank, *meeting)
    return times_s


@contextmanager
def s3_server() -> Iterator[str]:
    """URI of a store on an S3 server in processes of its own."""
    moto, drain = free_port("127.0.0.1"), free_port("127.0.0.1")
    commands = [
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(moto)],
        [sys.executable, str(HERE / "draining_server.py"), str(drain), str(moto)],
    ]
    servers = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{drain}",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        deadline_s = time.monotonic() + SERVER_START_TIMEOUT_S
        for port in (moto, drain):
            while is_port_free("127.0.0.1", port) and time.monotonic() < deadline_s:
                time.sleep(0.1)
        boto3.client("s3").create_bucket(Bucket="benchmark")
        yield "s3://benchmark/store"
    finally:
        for server in servers:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
