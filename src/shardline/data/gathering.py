"""Epochs of the full form: any rows in any order, gathered from the machine's cache."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from shardline.data.order import Rows
from shardline.data.packing import Packed
from shardline.data.worker_lanes import WorkerLanes

Result = TypeVar("Result")


class Gathering:
    """One epoch of the full form.

    Args:
        worker: Whose rows, with a cache.
        epoch: Which epoch.
        pool: Threads that read and gather.
        ahead: How much is gathered before it is asked for.
    """

    def __init__(
        self, worker: WorkerLanes, epoch: int, pool: ThreadPoolExecutor, ahead: int
    ) -> None:
        self._worker, self._epoch, self._pool, self._ahead = worker, epoch, pool, ahead

    def rows(self, step: int, *, by_column: bool) -> Iterator[Packed]:
        """Rows of whole steps from one on, as `Feed.rows` yields them."""
        self._fill_cache()
        groups = self._worker.groups
        gathers = (partial(groups.taken, rows, by_column=by_column) for rows in self._ordered(step))
        # A gather waits for memory most of the time, and so can several at once.
        yield from _computed(self._pool, gathers, self._ahead)

    def _fill_cache(self) -> None:
        groups, order, lanes = self._worker.groups, self._worker.order, self._worker.lanes
        start, _ = order.lane_range(lanes[0])
        _, stop = order.lane_range(lanes[-1])
        for _ in self._pool.map(groups.keep, groups.not_kept(groups.covering(start, stop))):
            pass  # raises what reading raised

    def _ordered(self, step: int) -> Iterator[Rows]:
        """Numbers of the rows that are handed over together."""
        spans = self._worker.ordered_spans(step)
        orders = (partial(self._rows_of, first, number) for first, number in spans)
        for rows in _computed(self._pool, orders, 1):
            yield from self._worker.parts(rows)

    def _rows_of(self, first: int, num_steps: int) -> Rows:
        worker = self._worker
        return worker.order.batch_rows(
            epoch=self._epoch, step=first, lanes=worker.lanes, num_steps=num_steps
        )


def _computed(
    pool: ThreadPoolExecutor, calls: Iterable[Callable[[], Result]], ahead: int
) -> Iterator[Result]:
    """Results in the order of the calls, `ahead` of which are under way when one is taken."""
    under_way: deque[Future[Result]] = deque()
    for call in calls:
        under_way.append(pool.submit(call))
        if len(under_way) > ahead:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
