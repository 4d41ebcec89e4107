"""One function call on a worker of the cluster, its errors as if it had run here."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from shardline.errors import ShardlineError

P = ParamSpec("P")
R = TypeVar("R")


def run_on_worker(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function in a Ray task with one CPU, where importing TensorFlow costs nobody else.

    A worker that dies is replaced and the call repeated, so the function must be safe to repeat.

    Raises:
        ShardlineError: Whatever the function raised, unwrapped.
    """
    import ray
    from ray.exceptions import RayTaskError

    task = ray.remote(num_cpus=1, max_retries=3)(function)
    try:
        result: R = ray.get(task.remote(*args, **kwargs))
    except RayTaskError as error:
        if isinstance(error.cause, ShardlineError):
            raise error.cause from error
        raise
    return result
