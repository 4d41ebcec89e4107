"""What every worker runs: build, restore, connect, fit."""

import logging
from dataclasses import dataclass
from typing import Any

from shardline.artifacts.checkpoint import CheckpointManifest, Cursor, EpochLogs
from shardline.artifacts.variables import (
    METRICS_PREFIX,
    OPTIMIZER_PREFIX,
    assign_variables,
    restore_weights,
)
from shardline.data.forms import split_order
from shardline.data.manifest import DatasetManifest
from shardline.data.order import Order
from shardline.errors import InputError, NotFiniteError, ShardlineError
from shardline.model.builder import build_model, model_inputs
from shardline.model.tensorflow_import import import_tensorflow
from shardline.spec import Spec
from shardline.store import Store
from shardline.training.checkpoints.resume import Restored, restore_newest
from shardline.training.exchange.peers import Exchange, joined, joined_background, leave
from shardline.training.fitting import fit
from shardline.training.memory import keep_freed_memory
from shardline.training.run import check_continues, run_identity
from shardline.training.stopping.failures import naming_the_step, restart_without_blame
from shardline.training.stopping.requests import StopRequested, stoppable
from shardline.training.stream import TrainStream
from shardline.training.task import WorkerTask
from shardline.training.warm_start import apply_warm_start

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What rank 0 returns."""

    history: list[EpochLogs]
    refusal: ShardlineError | None = None
    """What trying again would not change; raising it would make Ray do so."""
    remarks: tuple[str, ...] = ()
    """What the user should know of how training began."""


def train_worker(config: dict[str, WorkerTask]) -> Outcome:
    """The train function of every rank.

    Args:
        config: The task, under `task`.
    """
    task = config["task"]
    try:
        with stoppable():
            return _train(task, joined())
    except (InputError, NotFiniteError) as refusal:
        leave()  # a peer that sees no mistake must not wait for this rank
        return Outcome(history=[], refusal=refusal)
    except StopRequested as stop:
        raise restart_without_blame(stop) from stop


def _train(task: WorkerTask, exchange: Exchange) -> Outcome:
    keep_freed_memory()
    import_tensorflow()
    _limit_threads(task.spec.train.cpus_per_worker)
    from shardline.training.callback_list import callback_list
    from shardline.training.checkpoints.record import Record
    from shardline.training.checkpoints.recorder import Recorder
    from shardline.training.journal.callback import journaling

    spec, store = task.spec, Store(task.spec.store)
    restored = restore_newest(store, spec.run_name, exchange)
    if restored and restored.checkpoint.finished:  # by a callback; the group was lost afterwards
        return Outcome(history=[dict(entry) for entry in restored.checkpoint.history])
    model, guard, remarks = _connected_model(task, exchange, is_new=restored is None)
    stream, validation = _streams(task, model, exchange)
    beginning = _before_training(task, exchange.world_size)
    if restored:
        check_continues(spec.run_name, restored.checkpoint.identity, beginning.identity)
    start = restored.checkpoint if restored else beginning
    policy = spec.train.checkpoint
    recorder = Recorder(store, beginning, policy=policy, exchange=joined_background())
    record = Record(
        stream.order,
        exchange=exchange,
        recorder=recorder,
        policy=policy,
        start=start.cursor,
        history=[dict(entry) for entry in start.history],
    )
    if restored:
        _restore(model, restored, record)
    try:
        with (
            naming_the_step(exchange, record),
            stream.explaining(),
            journaling(store, spec, record=record, stream=stream, rank=exchange.rank) as journal,
        ):
            callbacks = callback_list(
                task, exchange=exchange, record=record, guard=guard, start=start, journal=journal
            )
            fit(
                model,
                stream,
                start=start.cursor,
                stop_epoch=spec.train.epochs,
                validation_data=validation,
                callbacks=callbacks,
            )
    except NotFiniteError:
        recorder.finish()  # what is under way is the last good checkpoint
        raise
    recorder.finish()
    return Outcome(history=record.history, remarks=remarks)


def _connected_model(
    task: WorkerTask, exchange: Exchange, *, is_new: bool
) -> tuple[Any, Any, tuple[str, ...]]:
    """The builder's model, its optimizer joined to those of the other ranks.

    Returns:
        Model, guard of its gradients, and what the user should know.
    """
    from shardline.training.replicas.agreement import agreed
    from shardline.training.replicas.averaging import average_gradients, loss_has_share
    from shardline.training.replicas.equality import check_same_start, draw_apart
    from shardline.training.replicas.exactness import check_exactness
    from shardline.training.replicas.gradients import gradient_sums
    from shardline.training.replicas.guard import GradientGuard
    from shardline.training.replicas.metrics import weigh_output_losses
    from shardline.training.replicas.synchronisation import synchronise_normalisation

    order = train_order(task.spec, task.dataset)
    sums = gradient_sums(task.spec.train, exchange)
    warm_start = task.warm_start if is_new else None

    def build() -> tuple[Any, tuple[str, ...]]:
        model = build_model(task.code, task.spec, task.dataset)
        return model, (apply_warm_start(model, warm_start),) if warm_start else ()

    model, remarks = agreed(exchange, build)
    check_same_start(model, exchange)
    check_exactness(model, exchange)
    draw_apart(model, exchange.rank)
    weigh_output_losses(model)
    guard = GradientGuard(model.optimizer)
    weight = order.worker_share(exchange.rank, exchange.world_size)
    moments_weight = 1.0 if loss_has_share(model) else weight
    synchronise_normalisation(model, sums, weight=moments_weight)
    average_gradients(model, sums, weight=weight)
    return model, guard, remarks


def _streams(task: WorkerTask, model: Any, exchange: Exchange) -> tuple[TrainStream, Any]:
    """This worker's training batches and, where the split has rows, its validation data."""
    from shardline.training.class_weights import class_weights
    from shardline.training.replicas.additivity import refuse_unaddable
    from shardline.training.replicas.agreement import agreed

    train, dataset = task.spec.train, task.dataset
    place: dict[str, Any] = {
        "store": Store(task.spec.store),
        "columns": model_inputs(model, dataset),
        "rank": exchange.rank,
        "world_size": exchange.world_size,
    }

    def read() -> tuple[TrainStream, Any]:
        stream = TrainStream(dataset, train, **place)
        if exchange.world_size > 1:
            refuse_unaddable(model, stream.dataset(Cursor(epoch=0, step=0), stop_epoch=1))
        return stream, stream.validation()

    stream, validation = agreed(exchange, read)
    if train.class_weight is not None:
        label = dataset.columns.label
        stream.class_weights = class_weights(train, label, stream.labels(), exchange)
    return stream, validation


def train_order(spec: Spec, dataset: DatasetManifest) -> Order:
    """The order of the train split under a spec.

    Raises:
        DataError: The split is smaller than one global batch.
        SpecError: `order: full` of a split that does not fit the cache.
    """
    return split_order(dataset, "train", spec.train)


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
