"""A worker's rows in the order of its steps, read ahead by threads of their own.

Epochs of the window form need the row groups of the next windows and no others. Where later epochs
need the cache, those are decoded into it and gathered from there; else they stream through a buffer
of fixed size. Epochs of the full form gather from the cache, after what it lacks has been read.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from shardline.data.order import Order, Rows
from shardline.data.packing import Packed
from shardline.data.row_groups import RowGroups
from shardline.data.window_buffer import Piece, WindowBuffer
from shardline.data.windows import LaneStream, WindowForm

# More than cores hides latency, and costs where there is none: four threads on two cores took 2.1 x
# the processor time of two.
READING_THREADS = 4
# Handing rows over costs the same for one step as for many small ones.
MAX_STEPS_AT_ONCE = 16
MAX_BYTES_AT_ONCE = 4 << 20


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
class Feed:
    """The rows of a worker's lanes.

    Args:
        groups: Reads them; has a cache if any epoch is of the full form.
        order: Which row comes when.
        lanes: The worker's.
        threads: Row groups that are read and decoded at the same time.
    """

    groups: RowGroups
    order: Order
    lanes: range
    threads: int

    @property
    def local_batch(self) -> int:
        """Rows of one step."""
        return self.order.rows_per_lane_step * len(self.lanes)

    @property
    def steps_at_once(self) -> int:
        """Steps that are handed over together, at most."""
        fitting = MAX_BYTES_AT_ONCE // max(1, self.local_batch * self.groups.layout.row_bytes)
        return max(1, min(MAX_STEPS_AT_ONCE, fitting))

    @property
    def gathers_windows(self) -> bool:
        """Whether windows are gathered from the cache, with no buffer of their own.

        That saves a copy and the buffer's memory. A cache that is given up when its disk is full
        cannot be relied on, and texts, which it keeps as bytes, would be made twice.
        """
        groups = self.groups
        has_texts = any(block.is_text for block in groups.layout.blocks)
        return groups.cache is not None and groups.needs_cache and not has_texts

    def capacity(self, form: WindowForm) -> int:
        """Rows of a lane that are read but not taken at most, epochs of the window form.

        What is handed over at once may begin at the end of one window and end at the beginning of
        another, and as much again is read ahead. So the window that follows the open one is in
        memory before the first of its rows is due.
        """
        at_once = self.steps_at_once * self.order.rows_per_lane_step
        return 2 * (form.rows + at_once) + max(form.row_groups)

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
                    yield from self._gathered(epoch, step, pool, by_column=by_column)
                    epoch, step = epoch + 1, 0
                else:
                    end = min(stop_epoch, form.epochs)
                    streaming = _Streaming(self, form, pool)
                    yield from streaming.rows(epoch, step, end, by_column=by_column)
                    epoch, step = end, 0

    def chunks(self, step: int) -> Iterator[tuple[int, int]]:
        """First step and number of steps of what is handed over from a step on."""
        for first in range(step, self.order.steps_per_epoch, self.steps_at_once):
            yield first, min(self.steps_at_once, self.order.steps_per_epoch - first)

    def _gathered(
        self, epoch: int, step: int, pool: ThreadPoolExecutor, *, by_column: bool
    ) -> Iterator[Packed]:
        start, _ = self.order.lane_range(self.lanes[0])
        _, stop = self.order.lane_range(self.lanes[-1])
        lacking = self.groups.not_kept(self.groups.covering(start, stop))
        for _ in pool.map(self.groups.keep, lacking):
            pass  # raises what reading raised
        # A gather waits for memory most of the time, and so can several at once.
        under_way: deque[Future[Packed]] = deque()
        for first, num_steps in self.chunks(step):
            steps = (epoch, first, num_steps)
            under_way.append(pool.submit(self._taken, *steps, by_column=by_column))
            if len(under_way) > self.threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _taken(self, epoch: int, first: int, num_steps: int, *, by_column: bool) -> Packed:
        """The rows of some steps of the full form."""
        rows = self.order.batch_rows(epoch=epoch, step=first, lanes=self.lanes, num_steps=num_steps)
        return self.groups.taken(rows, by_column=by_column)


@contextmanager
def reading_ahead(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that stop with the block, and do not begin what is still waiting then."""
    pool = ThreadPoolExecutor(number, thread_name_prefix="read-ahead")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Streaming:
    """Consecutive epochs of the window form."""

    def __init__(self, feed: Feed, form: WindowForm, pool: ThreadPoolExecutor) -> None:
        self._feed, self._form, self._pool = feed, form, pool
        self._order = feed.order
        self._capacity = feed.capacity(form)
        self._buffer: WindowBuffer | None = None
        if not feed.gathers_windows:
            self._buffer = WindowBuffer(
                feed.groups.layout, num_lanes=len(feed.lanes), capacity=self._capacity
            )
        self._under_way: deque[tuple[Piece, Future[None]]] = deque()
        self._known: dict[int, list[LaneStream]] = {}

    def rows(self, epoch: int, step: int, stop_epoch: int, *, by_column: bool) -> Iterator[Packed]:
        """Rows of whole steps, as `Feed.rows` yields them."""
        per_step = self._order.rows_per_lane_step
        pieces = _Ahead(self._pieces(epoch, step, stop_epoch))
        base = np.zeros(len(self._feed.lanes), np.int64)
        for now in range(epoch, stop_epoch):
            streams = self._streams(now)
            for first, num_steps in self._feed.chunks(step if now == epoch else 0):
                start, stop = first * per_step, (first + num_steps) * per_step
                live = [stream.span(stream.window_of(start))[0] for stream in streams]
                self._read(pieces, base + live, until=(now, first + num_steps - 1))
                places = [stream.places(start, stop) for stream in streams]
                yield self._taken(streams, places, base, by_column=by_column)
            base += [stream.num_rows for stream in streams]

    def _taken(
        self, streams: list[LaneStream], places: list[Rows], base: Rows, *, by_column: bool
    ) -> Packed:
        """The rows at some places of each lane, by step."""
        if self._buffer is not None:
            indices = self._buffer.indices(np.stack(places) + base[:, np.newaxis])
            return self._buffer.take(self._order.by_step(indices), by_column=by_column)
        rows = [stream.rows_at(at) for stream, at in zip(streams, places, strict=True)]
        return self._feed.groups.taken(self._order.by_step(np.stack(rows)), by_column=by_column)

    def _streams(self, epoch: int) -> list[LaneStream]:
        """The lanes in an epoch; asked for twice, once to read ahead."""
        if epoch not in self._known:
            order, form = self._order, self._form
            found = [order.stream(lane, epoch, form) for lane in self._feed.lanes]
            self._known = {at: s for at, s in self._known.items() if at >= epoch - 1}
            self._known[epoch] = found
        return self._known[epoch]

    def _read(self, pieces: "_Ahead", live: Rows, until: tuple[int, int]) -> None:
        """Read as far ahead as the buffer has room, and wait for what the steps need.

        Args:
            pieces: What is still to be read.
            live: First place of each lane that is still needed; what lies before is overwritten.
            until: Epoch and step that are about to be taken.
        """
        while True:
            while (piece := pieces.next) and self._fits(piece, live):
                self._under_way.append((piece, self._pool.submit(self._fetch, piece)))
                pieces.advance()
            if not self._under_way or self._under_way[0][0].needed > until:
                return
            self._under_way.popleft()[1].result()

    def _fits(self, piece: Piece, live: Rows) -> bool:
        end = piece.place + piece.rows
        return bool(end <= live[piece.lane] + self._capacity)

    def _fetch(self, piece: Piece) -> None:
        if self._buffer is None:
            self._feed.groups.keep(piece.group)
        else:
            self._buffer.write(piece, self._feed.groups.read(piece.group))

    def _pieces(self, epoch: int, step: int, stop_epoch: int) -> Iterator[Piece]:
        """What has to be read, in the order of need."""
        base = np.zeros(len(self._feed.lanes), np.int64)
        for now in range(epoch, stop_epoch):
            streams = self._streams(now)
            begin = (now, step if now == epoch else 0)
            found = [
                piece
                for lane, stream in enumerate(streams)
                for piece in self._pieces_of(stream, begin, lane, int(base[lane]))
            ]
            yield from sorted(found, key=lambda piece: piece.needed)
            base += [stream.num_rows for stream in streams]

    def _pieces_of(
        self, stream: LaneStream, begin: tuple[int, int], lane: int, base: int
    ) -> Iterator[Piece]:
        """The pieces of a lane in an epoch, without what only earlier steps or no step takes."""
        epoch, step = begin
        per_step = self._order.rows_per_lane_step
        live = stream.span(stream.window_of(step * per_step))[0]
        groups = self._feed.groups.of_rows(stream.starts)
        offsets = stream.starts - self._feed.groups.bounds[groups]
        for number, group in enumerate(groups):
            place, end = int(stream.ends[number]), int(stream.ends[number + 1])
            first = max(place, live)
            needed = stream.span(stream.window_of(first))[0] // per_step
            if end > live and needed < self._order.steps_per_epoch:
                skipped = int(offsets[number]) + first - place
                yield Piece((epoch, needed), lane, base + first, int(group), skipped, end - first)


class _Ahead:
    """An iterator whose next item can be looked at."""

    def __init__(self, items: Iterable[Piece]) -> None:
        self._items = iter(items)
        self.next: Piece | None = None
        self.advance()

    def advance(self) -> None:
        """Go on to the following item."""
        self.next = next(self._items, None)
