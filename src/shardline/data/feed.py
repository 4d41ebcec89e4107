"""A worker's rows in the order of its steps, read ahead by threads of their own.

Epochs of the window form are streamed (`streaming.py`), those of the full form gathered from the
cache (`gathering.py`), after what it lacks has been read.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from shardline.data.gathering import Gathering
from shardline.data.packing import Packed
from shardline.data.streaming import Streaming
from shardline.data.worker_lanes import WorkerLanes

# More than cores hides latency, and costs where there is none: four threads on two cores took 2.1 x
# the processor time of two.
READING_THREADS = 4


def reading_threads(cpus: int, *, is_local: bool, decodes: bool = False) -> int:
    """How many row groups to read and decode at the same time.

    Args:
        cpus: The worker's share of the machine, which may be bound to fewer.
        is_local: Whether they lie on a disk, not behind a network.
        decodes: Whether they hold encoded images, which keep every CPU busy.
    """
    # macOS binds no process to CPUs.
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cpus
    if not is_local:
        return max(READING_THREADS, min(cpus, bound) if decodes else 1)
    return min(cpus, bound) if decodes else min(READING_THREADS, cpus, bound)


@dataclass(frozen=True)
class Feed(WorkerLanes):
    """The rows of a worker's lanes, epoch after epoch.

    Args:
        groups: Reads them; has a cache if any epoch is of the full form.
        order: Which row comes when.
        lanes: The worker's.
        threads: Row groups that are read and decoded at the same time.
    """

    threads: int

    def rows(
        self, epoch: int, step: int, *, stop_epoch: int, by_column: bool = False
    ) -> Iterator[Packed]:
        """Rows of whole steps from a cursor up to, not including, an epoch.

        Args:
            epoch: Of the first step.
            step: The first one, in its epoch.
            stop_epoch: The first one that is left out.
            by_column: Tables as `gathered` turns them.

        Yields:
            `local_batch` times as many rows as there are steps in it, packed.
        """
        with reading_ahead(self.threads) as pool:
            while epoch < stop_epoch:
                form = self.order.window_form(epoch)
                if form is None:
                    gathering = Gathering(self, epoch, pool, ahead=self.threads)
                    yield from gathering.rows(step, by_column=by_column)
                    epoch, step = epoch + 1, 0
                else:
                    end = min(stop_epoch, form.epochs)
                    streaming = Streaming(self, form, pool)
                    yield from streaming.rows(epoch, step, end, by_column=by_column)
                    epoch, step = end, 0


@contextmanager
def reading_ahead(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that stop with the block, and do not begin what is still waiting then."""
    pool = ThreadPoolExecutor(number, thread_name_prefix="read-ahead")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
