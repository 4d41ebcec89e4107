"""Starts the workers, watches them, and turns what they leave into a result."""

import json
import threading
import uuid
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
from shardline.cluster.resources import Demand, check_fits, cluster_nodes
from shardline.errors import NotFoundError, StoreUnavailableError, TrainingError
from shardline.progress import Progress
from shardline.spec import Spec
from shardline.store import Store
from shardline.training.recorder import progress_key
from shardline.training.run import begin_run, discard_run
from shardline.training.worker import Outcome, WorkerTask, train_order, train_worker

WATCH_INTERVAL_S = 0.5


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
            _run_workers(spec, store, task)
    return _result(spec, store, list_checkpoints(store, spec.run_name))


def _check_resources(spec: Spec) -> None:
    train = spec.train
    wanted = Demand(train.workers, train.cpus_per_worker, train.gpus_per_worker)
    check_fits(wanted, cluster_nodes())


def _run_workers(spec: Spec, store: Store, task: WorkerTask) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from shardline.training.backend import KerasBackendConfig

    train = spec.train
    # Ray's own snapshot of a run can be torn (ray 2.60 rewrites it in place) and then blocks its
    # name for good, so every attempt gets a name of its own and the truth stays in checkpoints.
    scratch = f"runs/{spec.run_name}/ray"
    trainer = DataParallelTrainer(
        train_worker,
        train_loop_config={"task": task},
        backend_config=KerasBackendConfig(),
        scaling_config=ScalingConfig(
            num_workers=train.workers,
            use_gpu=train.gpus_per_worker > 0,
            resources_per_worker={"CPU": train.cpus_per_worker}
            | ({"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}),
        ),
        run_config=RunConfig(
            name=uuid.uuid4().hex,
            storage_path=store.arrow_uri(scratch),
            failure_config=FailureConfig(
                max_failures=train.max_failures,
                # Without a limit, workers that find no free CPU are waited for again and again.
                controller_failure_limit=train.max_failures,
            ),
        ),
    )
    # Ray's answer to Ctrl-C ends the process with code 1 and stays in place after the run (ray
    # 2.60, data_parallel_trainer.py); Python's own unwinds to the session, which ends the workers.
    trainer._register_sigint_handler = lambda _: None
    try:
        outcome: Outcome = trainer.fit().return_value
    except TrainingFailedError as error:
        raise TrainingError(
            f"run {spec.run_name!r} failed {train.max_failures + 1} times, last with: "
            f"{_innermost(error)}; its checkpoints are intact, the same command continues it."
        ) from error
    finally:
        store.delete_folder(scratch)
    if outcome.refusal is not None:
        raise outcome.refusal


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


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
