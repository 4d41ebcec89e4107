"""Function calls on workers of the cluster, their errors as if they had run here."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

from shardline.errors import ShardlineError

P = ParamSpec("P")
R = TypeVar("R")
Given = TypeVar("Given")

MAX_RETRIES = 3
CANCEL_TIMEOUT_S = 30
CANCEL_AGAIN_S = 3.0
"""Longer than a call takes to end that was interrupted; the next interrupt would hit its end."""
RUNNING_PER_CPU = 2
"""The second one waits at the worker, so that a CPU never waits for the driver."""


def run_on_worker(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function in a Ray task with one CPU, where importing TensorFlow costs nobody else.

    A worker that dies is replaced and the call repeated, so the function must be safe to repeat.

    Raises:
        ShardlineError: Whatever the function raised, unwrapped.
    """
    import ray

    task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(function)
    result: R = _result(task.remote(*args, **kwargs))
    return result


def map_on_workers(function: Callable[[Given], R], inputs: Sequence[Given]) -> Iterator[R]:
    """Results of a function for every input, in the inputs' order, each from a task of its own.

    A worker that dies is replaced and its call repeated, so the function must be safe to repeat.
    When the results are no longer taken, no call is at work any more.

    Args:
        function: Goes to every node once, with all that it holds.
        inputs: Go to one task each.

    Raises:
        ShardlineError: Whatever the function raised first, in that order, unwrapped.
    """
    import ray

    def call(shared: Callable[[Given], R], given: Given) -> R:
        return shared(given)

    task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(call)
    most = max(1, RUNNING_PER_CPU * int(ray.cluster_resources().get("CPU", 1)))
    running: deque[Any] = deque()
    shared = ray.put(function)
    try:
        for given in inputs:
            running.append(task.remote(shared, given))
            if len(running) >= most:
                yield _result(running.popleft())
        while running:
            yield _result(running.popleft())
    finally:
        _cancel(list(running))


def _cancel(running: list[Any]) -> None:
    """End calls, and wait until they have: what they write to may be removed next."""
    import ray

    for _ in range(round(CANCEL_TIMEOUT_S / CANCEL_AGAIN_S)):
        if not running:
            return
        for reference in running:
            ray.cancel(reference)  # is lost on a call that is just about to begin
        _, running = ray.wait(running, num_returns=len(running), timeout=CANCEL_AGAIN_S)


def num_nodes() -> int:
    """Machines of the cluster that this process is connected to; 0 if it is to none."""
    ray = sys.modules.get("ray")  # Who has not imported it is connected to nothing.
    if ray is None or not ray.is_initialized():
        return 0
    return sum(1 for node in ray.nodes() if node["Alive"])


def _result(reference: Any) -> Any:
    import ray
    from ray.exceptions import RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, ShardlineError):
            raise error.cause from error
        raise
