"""The callbacks of a worker, in the order that they depend on each other in.

Metrics become global first, so that everything after sees the numbers of all rows. What is not
finite is refused before anybody acts on it. The user's callbacks decide, then the checkpoint is
taken, which holds what they decided; then it is written down and said.
"""

from collections.abc import Sequence
from typing import Any

from shardline.artifacts.checkpoint import CheckpointManifest
from shardline.training.checkpoints.record import Record
from shardline.training.exchange.peers import Exchange
from shardline.training.replicas.guard import GradientGuard, RefuseNotFinite
from shardline.training.replicas.metrics import GlobalMetrics
from shardline.training.stopping.halting import StopTogether
from shardline.training.task import WorkerTask
from shardline.training.user_callbacks import CheckMonitors, UserCallbacks, make_callbacks


def callback_list(
    task: WorkerTask,
    *,
    exchange: Exchange,
    record: Record,
    guard: GradientGuard,
    start: CheckpointManifest,
    journal: Sequence[Any],
) -> list[Any]:
    """All callbacks of a worker.

    Args:
        task: Names the user's callbacks.
        exchange: Connects the workers.
        record: Takes the checkpoints.
        guard: Looks at the gradients.
        start: Where training continues.
        journal: Writes down how it goes; empty on all ranks but 0.

    Raises:
        SpecError: One of the user's cannot be made with its arguments.
        ModelError: Its module does not import.
    """
    train = task.spec.train
    own = make_callbacks(train.callbacks, task.code)
    record.user_callbacks = UserCallbacks(
        own,
        exchange=exchange,
        states=start.callbacks,
        resumes_in_epoch=start.cursor.step > 0,
    )
    share = record.order.worker_share(exchange.rank, exchange.world_size)
    stop = StopTogether(
        exchange, record, stop_epoch=train.epochs, stall_timeout_s=train.stall_timeout_s
    )
    return [
        *([GlobalMetrics(exchange, share=share)] if exchange.world_size > 1 else []),
        RefuseNotFinite(guard, order=record.order, start=start.cursor, report=stop.report),
        CheckMonitors(own),
        *own,
        record.user_callbacks,
        record,
        *journal,
        stop,
    ]
