"""Starts the workers, watches them, and turns what they leave into a result."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    EpochLogs,
    best_checkpoint,
    list_checkpoints,
    newest_intact,
)
from shardline.cluster.resources import Demand, check_fits, cluster_nodes, free_nodes
from shardline.errors import (
    NotFiniteError,
    NotFoundError,
    ShardlineError,
    StoreUnavailableError,
)
from shardline.progress import Progress
from shardline.spec import Spec
from shardline.store import Store
from shardline.training.recorder import progress_key
from shardline.training.run import begin_run, discard_run
from shardline.training.worker import Outcome, WorkerTask, train_order

WATCH_INTERVAL_S = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """A finished run."""

    run: str
    uri: str
    history: list[EpochLogs]
    """One entry per epoch: `epoch`, `loss`, …, `val_loss`, … over all workers' rows."""
    metrics: dict[str, float]
    """Those of the epoch that the chosen checkpoint ends."""
    checkpoint: str
    """URI of the checkpoint that evaluation and export will take."""


def train_model(
    task: WorkerTask, *, store: Store, progress: Progress, restart: bool = False
) -> TrainResult:
    """Train until the last epoch, continuing the run if it has checkpoints.

    Ray must be connected.

    Args:
        task: What to train on what.
        store: Where the run lives.
        progress: Shown while the workers run.
        restart: Discard the run's checkpoints, once everything else is known to fit.

    Raises:
        ResourceError: The cluster cannot hold the workers; nothing has started.
        InputError: The builder, the data or the spec do not fit together.
        TrainingError: The workers failed more often than `train.max_failures` allows.
    """
    spec = task.spec
    order = train_order(spec, task.dataset)
    if restart:
        _check_resources(spec)
        discard_run(store, spec.run_name)
    begin_run(store, spec, dataset=task.dataset, code=task.code)
    found = newest_intact(store, list_checkpoints(store, spec.run_name))
    if found is None or found.cursor.epoch < spec.train.epochs:
        _check_resources(spec)
        total_steps = order.steps_per_epoch * spec.train.epochs
        with _watching(store, spec, total_steps, progress):
            outcome = _run(task, store, progress)
        if outcome.refusal is not None:
            raise _with_last_checkpoint(outcome.refusal, store, spec.run_name)
    return _result(spec, store, list_checkpoints(store, spec.run_name))


def _check_resources(spec: Spec) -> None:
    train = spec.train
    wanted = Demand(train.min_workers, train.cpus_per_worker, train.gpus_per_worker)
    check_fits(wanted, cluster_nodes())


def _run(task: WorkerTask, store: Store, progress: Progress) -> Outcome:
    from shardline.training.launching import run_workers, wait_for_room

    train = task.spec.train

    def say(sentence: str) -> None:
        logger.warning(sentence)
        progress.update(done=0, total=None, note=sentence)

    wanted = Demand(train.min_workers, train.cpus_per_worker, train.gpus_per_worker)
    wait_for_room(wanted, free_nodes, say=say)
    return run_workers(task.spec, store, task)


def _with_last_checkpoint(refusal: ShardlineError, store: Store, run: str) -> ShardlineError:
    """Say where a run that diverged can be taken up again."""
    if not isinstance(refusal, NotFiniteError):
        return refusal
    found = newest_intact(store, list_checkpoints(store, run))
    last = f"the last good checkpoint is that of step {found.step}" if found else "no checkpoint"
    return NotFiniteError(f"{refusal.message} Nothing of it is committed: {last}.")


def _result(spec: Spec, store: Store, checkpoints: list[CheckpointManifest]) -> TrainResult:
    chosen = best_checkpoint(checkpoints, spec.train.checkpoint.monitor)
    history = [dict(entry) for entry in checkpoints[-1].history]
    metrics = dict(chosen.history[-1]) if chosen.history else {}
    metrics.pop("epoch", None)
    return TrainResult(
        run=spec.run_name,
        uri=store.uri_of(f"runs/{spec.run_name}"),
        history=history,
        metrics=metrics,
        checkpoint=store.uri_of(chosen.key),
    )


@contextmanager
def _watching(store: Store, spec: Spec, total_steps: int, progress: Progress) -> Iterator[None]:
    """Show what rank 0 says of its progress while the body runs."""
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(WATCH_INTERVAL_S):
            try:
                report = json.loads(store.read(progress_key(spec.run_name)))
            except (NotFoundError, StoreUnavailableError):
                continue  # nothing to show yet
            progress.update(
                done=report["step"] * spec.train.global_batch,
                total=total_steps * spec.train.global_batch,
                note=_note(report),
            )

    thread = threading.Thread(target=watch, name="train-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _note(report: dict[str, Any]) -> str:
    logs = [f"{name} {value:.4g}" for name, value in report["logs"].items()]
    return " ".join([*logs, f"{report['rows_per_s']:,.0f} rows/s"])
