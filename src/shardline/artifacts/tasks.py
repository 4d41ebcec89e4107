"""One piece of work in a Ray worker process, awaited."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MAX_RETRIES = 3


def run_task(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function as one Ray task on one CPU and return its result.

    A worker that dies is replaced, which is safe because everything that runs this way commits
    its result exactly once. An error raised by the function arrives here as it was raised.
    """
    import ray
    from ray.exceptions import RayTaskError

    task: Any = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(function)
    try:
        result: R = ray.get(task.remote(*args, **kwargs))
    except RayTaskError as error:
        raise error.cause from error
    return result
