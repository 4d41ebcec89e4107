"""One function over many inputs: in threads of this process, or as tasks of the cluster."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from shardline.cluster.tasks import map_on_workers, num_nodes

Input = TypeVar("Input")
Result = TypeVar("Result")

# Less is read here before the first task of a cluster has started.
MIN_CLUSTER_BYTES = 256 << 20


class Map(Protocol):
    """Applies a function to every input and yields the results in the inputs' order."""

    def __call__(
        self, function: Callable[[Input], Result], inputs: Sequence[Input]
    ) -> Iterator[Result]:
        """Results, errors as the function raised them."""


def choose_map(num_bytes: int, *, is_everywhere: bool) -> Map:
    """Where so many bytes of a source are worked on.

    On the cluster that this process is connected to, if there is one and enough to do.

    Args:
        num_bytes: How much there is to do.
        is_everywhere: Whether other machines can read what is worked on; if not, they have no part.
    """
    nodes = num_nodes() if num_bytes >= MIN_CLUSTER_BYTES else 0
    return map_on_workers if nodes == 1 or (nodes and is_everywhere) else map_in_threads


def map_in_threads(
    function: Callable[[Input], Result], inputs: Sequence[Input], *, num_threads: int | None = None
) -> Iterator[Result]:
    """Results in the order of the inputs; Arrow and numpy work side by side, Python does not.

    At most two results per thread wait to be taken. The first error in that order is raised, and
    what has not begun is dropped.
    """
    threads = min(len(inputs), num_threads or os.cpu_count() or 1)
    if threads <= 1:
        yield from map(function, inputs)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for given in inputs:
            waiting.append(pool.submit(function, given))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
