"""The batcher: requests that arrive while the model is busy share its next run.

Nothing waits on a timer. An idle model starts at once with whatever is there; a busy one leaves the
queue to fill, so batches grow with the load by themselves. Every request has a ticket of its own:
its rows go in, its rows come out, its deadline, its cancellation and its failure touch no other.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardline.serving.refusals import (
    DeadlineError,
    ModelFailureError,
    NotReadyError,
    OverloadError,
)

Columns = Mapping[str, "np.ndarray[Any, Any]"]
Predict = Callable[[Columns], Columns]


@dataclass(eq=False, slots=True)
class _Ticket:
    """One request on its way through the model."""

    columns: Columns
    num_rows: int
    answer: "asyncio.Future[Columns]"


class Batcher:
    """A bounded queue in front of a model that runs in one thread of its own.

    Args:
        predict: Columns in, columns out, the same number of rows. Called in one thread only.
        max_batch: Most rows of one call; a single request of more rows runs alone.
        max_queue: Most requests held at a time, the running ones included.
    """

    def __init__(self, predict: Predict, *, max_batch: int, max_queue: int) -> None:
        self._predict = predict
        self._max_batch = max_batch
        self._max_queue = max_queue
        # One thread: TensorFlow spreads over the cores itself, and a second caller would only
        # halve the batches.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._waiting: OrderedDict[_Ticket, None] = OrderedDict()
        self._num_held = 0
        self._pump: asyncio.Task[None] | None = None
        self._batch_started_s: float | None = None
        self.is_closed = False

    def busy_s(self, now_s: float) -> float:
        """How long the batch that is running now has been running, 0 if there is none."""
        return 0.0 if self._batch_started_s is None else now_s - self._batch_started_s

    async def submit(self, columns: Columns, *, num_rows: int, deadline_s: float) -> Columns:
        """The model's answer to these rows.

        Args:
            columns: One array of `num_rows` rows per input column.
            num_rows: Rows of the request.
            deadline_s: Time of the running loop's clock by which the answer must be there.

        Raises:
            OverloadError: The queue is full.
            DeadlineError: The deadline passed; rows that had not started are dropped.
            ModelFailureError: The model failed on this request, alone.
        """
        if self.is_closed:
            raise NotReadyError("this replica is shutting down; send the request again.")
        if self._num_held >= self._max_queue:
            raise OverloadError(
                f"the endpoint already holds {self._num_held} requests; try again in a second."
            )
        loop = asyncio.get_running_loop()
        ticket = _Ticket(columns, num_rows, loop.create_future())
        self._waiting[ticket] = None
        self._num_held += 1
        if self._pump is None:
            self._pump = loop.create_task(self._run_batches())
        started_s = loop.time()
        try:
            async with asyncio.timeout_at(deadline_s):
                return await ticket.answer
        except TimeoutError:
            waited_ms = (loop.time() - started_s) * 1000
            raise DeadlineError(
                f"no answer after {waited_ms:.0f} ms, the request's deadline; "
                "send fewer rows or raise serve.timeout_ms."
            ) from None
        finally:
            self._num_held -= 1
            self._waiting.pop(ticket, None)

    async def close(self) -> None:
        """Refuse what is waiting, let the running batch end, and stop the thread."""
        self.is_closed = True
        for ticket in list(self._waiting):
            _refuse(ticket, NotReadyError("this replica is shutting down; send the request again."))
        self._waiting.clear()
        if self._pump is not None:
            await self._pump
        self._thread.shutdown(wait=True)

    async def _run_batches(self) -> None:
        while batch := self._next_batch():
            try:
                await self._run(batch)
            except Exception as error:  # noqa: BLE001 - boundary to the user's model
                await self._run_one_by_one(batch, error)
        self._pump = None

    def _next_batch(self) -> list[_Ticket]:
        batch: list[_Ticket] = []
        num_rows = 0
        while self._waiting:
            ticket = next(iter(self._waiting))
            if batch and num_rows + ticket.num_rows > self._max_batch:
                break
            del self._waiting[ticket]
            if not ticket.answer.done():
                batch.append(ticket)
                num_rows += ticket.num_rows
        return batch

    async def _run(self, batch: list[_Ticket]) -> None:
        inputs = _joined([ticket.columns for ticket in batch])
        sizes = [ticket.num_rows for ticket in batch]
        loop = asyncio.get_running_loop()
        self._batch_started_s = loop.time()
        try:
            outputs = await loop.run_in_executor(self._thread, self._predict, inputs)
        finally:
            self._batch_started_s = None
        for ticket, answer in zip(batch, _split(outputs, sizes), strict=True):
            if not ticket.answer.done():
                ticket.answer.set_result(answer)

    async def _run_one_by_one(self, batch: list[_Ticket], error: Exception) -> None:
        """A failed batch names no culprit; alone, only the culprit fails."""
        if len(batch) == 1:
            _refuse(batch[0], _model_failure(error))
            return
        for ticket in batch:
            if ticket.answer.done():
                continue
            try:
                await self._run([ticket])
            except Exception as own_error:  # noqa: BLE001 - boundary to the user's model
                _refuse(ticket, _model_failure(own_error))


def _joined(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _split(outputs: Columns, sizes: list[int]) -> list[Columns]:
    num_rows = sum(sizes)
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != num_rows:
            raise ValueError(
                f"output {name!r} has shape {list(array.shape)} for {num_rows} input rows; "
                "its first dimension must be the rows"
            )
    if len(sizes) == 1:
        return [outputs]
    ends = np.cumsum(sizes)
    return [
        {name: array[end - size : end] for name, array in outputs.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]


def _model_failure(error: Exception) -> ModelFailureError:
    reason = str(error).strip().split("\n", 1)[0][:200]
    failure = ModelFailureError(
        f"the model failed on this request: {type(error).__name__}: {reason}"
    )
    failure.__cause__ = error
    return failure


def _refuse(ticket: _Ticket, error: Exception) -> None:
    if not ticket.answer.done():
        ticket.answer.set_exception(error)
