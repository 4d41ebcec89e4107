"""The batches of a worker as `tf.data` datasets that `fit` and `evaluate` iterate."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from shardline.artifacts.checkpoint import Cursor
from shardline.data.batches import (
    Batch,
    epoch_batches,
    read_block,
    sequential_batches,
    worker_share,
)
from shardline.data.manifest import DatasetManifest
from shardline.data.order import Order
from shardline.data.schema import Column
from shardline.store import Store
from shardline.training.journal.data_wait import DataWait

PREFETCHED_BATCHES = 4


class TrainStream:
    """The train split's batches for one worker.

    Args:
        dataset: What to read.
        order: Which row comes when.
        store: Where it lies.
        columns: Features to read; the label is added.
        rank: This worker's number.
        world_size: Number of workers.
    """

    def __init__(
        self,
        dataset: DatasetManifest,
        order: Order,
        *,
        store: Store,
        columns: Sequence[Column],
        rank: int,
        world_size: int,
    ) -> None:
        self.order = order
        self._columns = (*columns, dataset.columns.label)
        self._lanes = order.worker_lanes(rank, world_size)
        rows = order.worker_range(rank, world_size)
        self._block = read_block(store, dataset, "train", rows=rows, columns=self._columns)
        self.wait = DataWait()
        """How long training waits for these batches."""
        self.class_weights: Any = None
        """Weight of each class's rows, float32 of shape (classes,); None for none."""

    @property
    def labels(self) -> Any:
        """The label column of this worker's rows."""
        return self._block.columns[self._columns[-1].name]

    def dataset(self, start: Cursor, *, stop_epoch: int) -> Any:
        """All batches from the cursor up to, not including, an epoch, as one iteration.

        Making an iterator for each epoch costs more than a short epoch takes.

        Returns:
            A `tf.data.Dataset` of (features, label), with `class_weights` of (features, label,
            weight).
        """

        def batches() -> Iterator[Batch]:
            for epoch in range(start.epoch, stop_epoch):
                yield from self._epoch(epoch, start.step if epoch == start.epoch else 0)

        return self._measured(batches)

    def dataset_by_epoch(self, start_epoch: int, *, stop_epoch: int) -> Any:
        """The same, each iteration being the next whole epoch."""
        epochs = iter(range(start_epoch, stop_epoch))

        def batches() -> Iterator[Batch]:
            # Runs when the first batch is asked for, so an iterator that `fit` makes and drops
            # takes no epoch.
            yield from self._epoch(next(epochs), 0)

        return _of_length(self._measured(batches), self.order.steps_per_epoch)

    def _measured(self, batches: Any) -> Any:
        return self.wait.measured(_tf_dataset(batches, self._columns, self.class_weights))

    def _epoch(self, epoch: int, first_step: int) -> Iterator[Batch]:
        return epoch_batches(
            self._block, self.order, epoch=epoch, first_step=first_step, lanes=self._lanes
        )


def validation_stream(
    dataset: DatasetManifest,
    *,
    store: Store,
    columns: Sequence[Column],
    batch_rows: int,
    rank: int,
    world_size: int,
) -> Any | None:
    """A worker's share of the validation split, every row once; None when there is no such split.

    Returns:
        A `tf.data.Dataset` of (features, label).
    """
    num_rows = dataset.split("validation").rows
    if num_rows == 0:
        return None
    wanted = (*columns, dataset.columns.label)
    share = worker_share(num_rows, rank=rank, world_size=world_size)
    block = read_block(store, dataset, "validation", rows=share, columns=wanted)
    stream = _tf_dataset(lambda: sequential_batches(block, batch_rows=batch_rows), wanted)
    return _of_length(stream, math.ceil(block.num_rows / batch_rows))


def _of_length(stream: Any, num_batches: int) -> Any:
    """Without a known length, Keras takes the end of the data for data that ran out."""
    import tensorflow as tf

    return stream.apply(tf.data.experimental.assert_cardinality(num_batches))


def _tf_dataset(batches: Any, columns: Sequence[Column], class_weights: Any = None) -> Any:
    """Batches as (features, label) or (features, label, weight); the label is the last column."""
    import tensorflow as tf

    specs = {
        column.name: tf.TensorSpec((None, *(column.shape or (1,))), column.dtype)
        for column in columns
    }
    label = columns[-1].name

    def split(batch: dict[str, Any]) -> tuple[Any, ...]:
        features = {name: batch[name] for name in specs if name != label}
        if class_weights is None:
            return features, batch[label]
        classes = tf.cast(tf.reshape(batch[label], (-1,)), tf.int64)
        return features, batch[label], tf.gather(class_weights, classes)

    stream = tf.data.Dataset.from_generator(batches, output_signature=specs)
    return stream.map(split).prefetch(PREFETCHED_BATCHES)
