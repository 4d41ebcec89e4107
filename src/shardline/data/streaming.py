"""Epochs of the window form: the row groups of the next windows are read ahead, and no others.

Where later epochs need the cache, those are decoded into it and gathered from there; else they
stream through a buffer of fixed size.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from shardline.data.order import Rows
from shardline.data.packing import Packed
from shardline.data.window_buffer import Piece, WindowBuffer
from shardline.data.windows import LaneStream, WindowForm
from shardline.data.worker_lanes import WorkerLanes


def window_capacity(worker: WorkerLanes, form: WindowForm) -> int:
    """Rows of a lane that are read but not taken at most.

    What is handed over at once may begin at the end of one window and end at the beginning of
    another, and as much again is read ahead. So the window that follows the open one is in memory
    before the first of its rows is due.
    """
    at_once = worker.steps_at_once * worker.order.rows_per_lane_step
    return 2 * (form.rows + at_once) + max(form.row_groups)


def gathers_windows(worker: WorkerLanes) -> bool:
    """Whether windows are gathered from the cache, with no buffer of their own.

    That saves a copy and the buffer's memory. A cache that is given up when its disk is full cannot
    be relied on, and texts, which it keeps as bytes, would be made twice.
    """
    groups = worker.groups
    has_texts = any(block.is_text for block in groups.layout.blocks)
    return groups.cache is not None and groups.needs_cache and not has_texts


class Streaming:
    """Consecutive epochs of the window form.

    Args:
        worker: Whose rows.
        form: The form of all these epochs.
        pool: Threads that read.
    """

    def __init__(self, worker: WorkerLanes, form: WindowForm, pool: ThreadPoolExecutor) -> None:
        self._worker, self._form, self._pool = worker, form, pool
        self._order = worker.order
        self._capacity = window_capacity(worker, form)
        self._buffer: WindowBuffer | None = None
        if not gathers_windows(worker):
            self._buffer = WindowBuffer(
                worker.groups.layout, num_lanes=len(worker.lanes), capacity=self._capacity
            )
        self._under_way: deque[tuple[Piece, Future[None]]] = deque()
        self._known: dict[int, list[LaneStream]] = {}

    def rows(self, epoch: int, step: int, stop_epoch: int, *, by_column: bool) -> Iterator[Packed]:
        """Rows of whole steps, as `Feed.rows` yields them."""
        per_step, local_batch = self._order.rows_per_lane_step, self._worker.local_batch
        pieces = _Ahead(self._pieces(epoch, step, stop_epoch))
        base = np.zeros(len(self._worker.lanes), np.int64)
        for now in range(epoch, stop_epoch):
            streams = self._streams(now)
            first = step if now == epoch else 0
            for rows in self._ordered(streams, first, base):
                stop = first + len(rows) // local_batch
                live = [stream.span(stream.window_of(first * per_step))[0] for stream in streams]
                self._read(pieces, base + live, until=(now, stop - 1))
                if self._buffer is None:
                    yield self._worker.groups.taken(rows, by_column=by_column)
                else:
                    yield self._buffer.take(rows, by_column=by_column)
                first = stop
            base += [stream.num_rows for stream in streams]

    def _ordered(self, streams: list[LaneStream], step: int, base: Rows) -> Iterator[Rows]:
        """Where the rows lie that are handed over together, in the cache or the buffer."""
        per_step = self._order.rows_per_lane_step
        for first, num_steps in self._worker.ordered_spans(step):
            span = first * per_step, (first + num_steps) * per_step
            if self._buffer is None:
                found = np.stack([stream.rows(*span) for stream in streams])
            else:
                places = np.stack([stream.places(*span) for stream in streams])
                found = self._buffer.indices(places + base[:, np.newaxis])
            yield from self._worker.parts(self._order.by_step(found))

    def _streams(self, epoch: int) -> list[LaneStream]:
        """The lanes in an epoch; asked for twice, once to read ahead."""
        if epoch not in self._known:
            order, form = self._order, self._form
            found = [order.stream(lane, epoch, form) for lane in self._worker.lanes]
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
            self._worker.groups.keep(piece.group)
        else:
            self._buffer.write(piece, self._worker.groups.read(piece.group, piece.part))

    def _pieces(self, epoch: int, step: int, stop_epoch: int) -> Iterator[Piece]:
        """What has to be read, in the order of need."""
        base = np.zeros(len(self._worker.lanes), np.int64)
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
        groups = self._worker.groups.of_rows(stream.starts)
        offsets = stream.starts - self._worker.groups.bounds[groups]
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
