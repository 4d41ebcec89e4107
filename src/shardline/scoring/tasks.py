"""Units as Ray tasks: a bounded number at a time, replaced when their worker dies."""

import time
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

from shardline.errors import ShardlineError, StoreUnavailableError
from shardline.scoring.commit import PartCounts
from shardline.scoring.job import ScoreJob
from shardline.scoring.units import Unit, known_rows
from shardline.scoring.worker import score_unit_task

MAX_RETRIES = 3
RUNNING_PER_CPU = 2
"""The second one waits at the worker, so that a CPU never waits for the driver."""

# A process that has TensorFlow loaded scores 20 thousand small rows in the second or so that
# another one needs for a fraction of its import (7 s on 2 cores). So small jobs start with one
# worker, which the session may well have at hand, and get all only when it turns out to be slow.
SMALL_JOB_ROWS = 20_000
PATIENCE_S = 10.0


def run_units(job: ScoreJob, units: Sequence[Unit]) -> Generator[PartCounts]:
    """Score units on the cluster; yields each one's counts as it is committed.

    Raises:
        ShardlineError: A unit failed, or its workers died again and again.
    """
    import ray

    if not units:
        return
    task: Any = ray.remote(
        num_cpus=1, max_retries=MAX_RETRIES, retry_exceptions=[StoreUnavailableError]
    )(score_unit_task)
    shared = ray.put(job)
    most = max(1, RUNNING_PER_CPU * int(ray.cluster_resources().get("CPU", 1)))
    waiting, running = deque(units), dict[Any, Unit]()
    small = (known_rows(units) or SMALL_JOB_ROWS + 1) <= SMALL_JOB_ROWS
    started_s = time.monotonic()
    try:
        while waiting or running:
            allowed = 1 if small and time.monotonic() - started_s < PATIENCE_S else most
            while waiting and len(running) < allowed:
                unit = waiting.popleft()
                running[task.remote(shared, unit)] = unit
            ready, _ = ray.wait(list(running), num_returns=1, timeout=PATIENCE_S)
            for reference in ready:
                yield _counts(reference, running.pop(reference))
    finally:
        for reference in running:
            ray.cancel(reference)


def _counts(reference: Any, unit: Unit) -> PartCounts:
    import ray
    from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

    try:
        counts: PartCounts = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    except (WorkerCrashedError, OutOfMemoryError) as error:
        raise ShardlineError(
            f"scoring {unit.name} ended its worker process {MAX_RETRIES + 1} times; look for "
            "memory: lower score.batch, or give the machine more of it."
        ) from error
    return counts
