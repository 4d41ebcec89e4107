"""What every worker runs: build, restore, connect, fit."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shardline.artifacts.checkpoint import CheckpointManifest, Cursor, EpochLogs
from shardline.artifacts.variables import (
    METRICS_PREFIX,
    OPTIMIZER_PREFIX,
    assign_variables,
    restore_weights,
)
from shardline.data.manifest import DatasetManifest
from shardline.data.order import Order
from shardline.errors import InputError
from shardline.model.builder import build_model, model_inputs
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.store import Store
from shardline.training.exchange import Exchange, joined, joined_background, leave
from shardline.training.resume import Restored, restore_newest
from shardline.training.run import run_identity
from shardline.training.stream import TrainStream, validation_stream

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerTask:
    """Everything a worker needs to know; the same on all of them."""

    spec: Spec
    dataset: DatasetManifest
    code: ModelCode


@dataclass(frozen=True)
class Outcome:
    """What rank 0 returns."""

    history: list[EpochLogs]
    refusal: InputError | None = None
    """The user's mistake that stopped training; raising it would make Ray try again."""


def train_worker(config: dict[str, WorkerTask]) -> Outcome:
    """The train function of every rank.

    Args:
        config: The task, under `task`.
    """
    task = config["task"]
    try:
        return Outcome(history=_train(task, joined()))
    except InputError as refusal:
        leave()  # a peer that sees no mistake must not wait for this rank
        return Outcome(history=[], refusal=refusal)


def _train(task: WorkerTask, exchange: Exchange) -> list[EpochLogs]:
    _limit_threads(task.spec.train.cpus_per_worker)
    from shardline.training.averaging import average_gradients
    from shardline.training.callbacks import Record
    from shardline.training.gradients import gradient_sums
    from shardline.training.metrics import GlobalMetrics
    from shardline.training.recorder import Recorder
    from shardline.training.replicas import check_same_start, refuse_false_synchronisation

    spec, dataset, store = task.spec, task.dataset, Store(task.spec.store)
    order = train_order(spec, dataset)
    sums = gradient_sums(spec.train, exchange)
    model = build_model(task.code, spec, dataset)
    refuse_false_synchronisation(model, exchange)
    check_same_start(model, exchange)
    average_gradients(model, sums, weight=1 / exchange.world_size)

    place: dict[str, Any] = {
        "store": store,
        "columns": model_inputs(model, dataset),
        "rank": exchange.rank,
        "world_size": exchange.world_size,
    }
    stream = TrainStream(dataset, order, **place)
    local_batch = spec.train.global_batch // exchange.world_size
    validation = validation_stream(dataset, batch_rows=local_batch, **place)
    restored = restore_newest(store, spec.run_name, exchange)
    start = restored.checkpoint if restored else _before_training(task, exchange.world_size)
    recorder = Recorder(
        store,
        _before_training(task, exchange.world_size),
        policy=spec.train.checkpoint,
        exchange=joined_background(),
    )
    record = Record(
        order,
        exchange=exchange,
        recorder=recorder,
        policy=spec.train.checkpoint,
        start=start.cursor,
        history=[dict(entry) for entry in start.history],
    )
    if restored:
        _restore(model, restored, record)
    _fit(
        model,
        stream,
        start=start.cursor,
        stop_epoch=spec.train.epochs,
        validation_data=validation,
        callbacks=[record] if exchange.world_size == 1 else [GlobalMetrics(exchange), record],
    )
    recorder.finish()
    return record.history


def _fit(
    model: Any, stream: TrainStream, *, start: Cursor, stop_epoch: int, **options: Any
) -> None:
    """Fit from the cursor to the last epoch.

    An epoch that was begun before has fewer steps than the others, and Keras fixes the number of
    steps for all epochs of one `fit`, so it gets one of its own.
    """
    options |= {"shuffle": False, "verbose": 0}  # the stream has an order of its own
    steps = stream.order.steps_per_epoch
    if start.step:
        following = Cursor(epoch=start.epoch + 1, step=0)
        with _weights_left_alone(model.optimizer):
            model.fit(
                stream.dataset(start, stop_epoch=following.epoch),
                steps_per_epoch=steps - start.step,
                initial_epoch=start.epoch,
                epochs=following.epoch,
                **options,
            )
        start = following
    if start.epoch == stop_epoch:
        return
    if steps % model.steps_per_execution == 0:
        options["steps_per_epoch"] = steps
        data = stream.dataset(start, stop_epoch=stop_epoch)
    else:
        # `fit` rounds steps_per_epoch up to whole executions, into the next epoch's batches.
        data = stream.dataset_by_epoch(start.epoch, stop_epoch=stop_epoch)
    model.fit(data, initial_epoch=start.epoch, epochs=stop_epoch, **options)


@contextmanager
def _weights_left_alone(optimizer: Any) -> Iterator[None]:
    """Keep `fit` from overwriting the weights with their moving averages when it returns."""
    optimizer.finalize_variable_values = lambda _: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


def train_order(spec: Spec, dataset: DatasetManifest) -> Order:
    """The order of the train split under a spec.

    Raises:
        DataError: The split is smaller than one global batch.
    """
    return Order(
        num_rows=dataset.split("train").rows,
        num_lanes=spec.train.num_lanes,
        global_batch=spec.train.global_batch,
        seed=spec.train.seed,
    )


def _before_training(task: WorkerTask, world_size: int) -> CheckpointManifest:
    """What all checkpoints of this group of workers have in common, at step 0."""
    return CheckpointManifest(
        run=task.spec.run_name,
        step=0,
        cursor=Cursor(epoch=0, step=0),
        world_size=world_size,
        spec_digest=task.spec.digest,
        dataset=task.dataset.name,
        dataset_version=task.dataset.version,
        history=(),
        identity=run_identity(task.spec, task.dataset, task.code),
    )


def _restore(model: Any, restored: Restored, record: Any) -> None:
    tensors, checkpoint = restored.tensors, restored.checkpoint
    restore_weights(model, tensors)
    model.optimizer.build(model.trainable_variables)
    assign_variables(model.optimizer.variables, tensors, prefix=OPTIMIZER_PREFIX)
    metrics = [tensors[name] for name in sorted(tensors) if name.startswith(METRICS_PREFIX)]
    if metrics:
        record.restore_metrics(metrics)
    logger.info("continuing run %s from step %d", checkpoint.run, checkpoint.step)


def _limit_threads(cpus: int) -> None:
    """Give TensorFlow as many threads as Ray gave CPUs: it would take every core by default."""
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(cpus)
    except RuntimeError:
        logger.info("this process ran TensorFlow before; its number of threads stays")
