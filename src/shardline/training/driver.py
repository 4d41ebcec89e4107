"""Starts the workers, watches them, and turns what they leave into a result."""

import logging
from dataclasses import dataclass, replace

from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    EpochLogs,
    best_checkpoint,
    list_checkpoints,
)
from shardline.artifacts.checkpoint_reading import newest_intact
from shardline.cluster.resources import Demand, check_fits, cluster_nodes, free_nodes
from shardline.errors import NotFiniteError, ShardlineError
from shardline.progress import Progress
from shardline.spec import Spec
from shardline.spec.train import TrainSpec
from shardline.store import Store
from shardline.training.group.incidents import TellIncidents
from shardline.training.journal.mlflow_log import mlflow_log
from shardline.training.journal.watching import Watch, watching
from shardline.training.run import begin_run, discard_run
from shardline.training.task import WorkerTask
from shardline.training.warm_start import find_warm_start, held
from shardline.training.worker import Outcome, train_order

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
    found = _newest(store, spec)
    if found is None and task.warm_start is None:
        task = replace(task, warm_start=find_warm_start(store, spec))  # its checkpoints were torn
    if found is None or not _is_done(found, spec):
        _check_resources(spec)
        watch = Watch(store, spec, steps_per_epoch=order.steps_per_epoch, progress=progress)
        log = mlflow_log(store, task)
        incidents = TellIncidents(store, spec.run_name)
        with held(task.warm_start), watching(watch, incidents, *([log] if log else [])):
            outcome = _run(task, store, progress)
        for remark in outcome.remarks:
            logger.warning(remark)
        if outcome.refusal is not None:
            raise _with_last_checkpoint(outcome.refusal, store, spec.run_name)
    elif found.cursor.epoch > spec.train.epochs:
        logger.warning(
            "run %s has %d epochs already, more than train.epochs (%d): nothing to do; name a new "
            "run with --set train.run=NAME to train for less",
            spec.run_name,
            found.cursor.epoch,
            spec.train.epochs,
        )
    return _result(spec, store, list_checkpoints(store, spec.run_name))


def _newest(store: Store, spec: Spec) -> CheckpointManifest | None:
    """Where the run stands.

    Its files are read only if no worker would: of a finished run. And if a damaged one would let a
    warm start come into its own.
    """
    checkpoints = list_checkpoints(store, spec.run_name)
    if checkpoints and not _is_done(checkpoints[-1], spec) and spec.train.warm_start is None:
        return checkpoints[-1]
    return newest_intact(store, checkpoints)


def _is_done(checkpoint: CheckpointManifest, spec: Spec) -> bool:
    return checkpoint.finished or checkpoint.cursor.epoch >= spec.train.epochs


def _check_resources(spec: Spec) -> None:
    check_fits(_demand(spec.train), cluster_nodes())


def _demand(train: TrainSpec) -> Demand:
    """The least that the run can start with."""
    return Demand(train.min_workers, train.cpus_per_worker, train.gpus_per_worker)


def _run(task: WorkerTask, store: Store, progress: Progress) -> Outcome:
    from shardline.training.group.launching import run_workers, wait_for_room

    def say(sentence: str) -> None:
        logger.warning(sentence)
        progress.update(done=0, total=None, note=sentence)

    wait_for_room(_demand(task.spec.train), free_nodes, say=say)
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
