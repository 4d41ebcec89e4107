"""The batches of a worker as `tf.data` datasets that `fit` and `evaluate` iterate."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from shardline.artifacts.checkpoint import Cursor
from shardline.data.batches import open_feed, read_block, sequential_batches, worker_share
from shardline.data.feed import Feed
from shardline.data.manifest import DatasetManifest
from shardline.data.packing import Layout, Packed
from shardline.data.schema import Column
from shardline.errors import InputError, ShardlineError, TrainingError
from shardline.spec.train import TrainSpec
from shardline.store import Store
from shardline.training.journal.data_wait import DataWait

PREFETCHED_BATCHES = 4


class TrainStream:
    """The train split's batches for one worker.

    Args:
        dataset: What to read.
        train: In which order, and where rows are kept.
        store: Where it lies.
        columns: Features to read; the label is added.
        rank: This worker's number.
        world_size: Number of workers.

    Raises:
        DataError: The split is smaller than one global batch.
        SpecError: `order: full` of a split that does not fit the cache.
        ResourceError: The cache's folder cannot be written, and an epoch needs it.
    """

    def __init__(
        self,
        dataset: DatasetManifest,
        train: TrainSpec,
        *,
        store: Store,
        columns: Sequence[Column],
        rank: int,
        world_size: int,
    ) -> None:
        columns = (*columns, dataset.columns.label)
        self._place = store, dataset, (rank, world_size)
        self._feed = open_feed(
            store, dataset, "train", columns=columns, train=train, share=(rank, world_size)
        )
        self.order = self._feed.order
        self.wait = DataWait()
        """How long training waits for these batches."""
        self.class_weights: Any = None
        """Weight of each class's rows, float32 of shape (classes,); None for none."""
        self._failure: ShardlineError | None = None

    def labels(self) -> Any:
        """Read the label column of this worker's rows."""
        store, dataset, share = self._place
        label = dataset.columns.label
        rows = self.order.worker_range(*share)
        return read_block(store, dataset, "train", rows=rows, columns=[label]).columns[label.name]

    def dataset(self, start: Cursor, *, stop_epoch: int) -> Any:
        """All batches from the cursor up to, not including, an epoch, as one iteration.

        Making an iterator for each epoch costs more than a short epoch takes.

        Returns:
            A `tf.data.Dataset` of (features, label), with `class_weights` of (features, label,
            weight).
        """
        return self._measured(lambda: self._rows(start.epoch, start.step, stop_epoch))

    def dataset_by_epoch(self, start_epoch: int, *, stop_epoch: int) -> Any:
        """The same, each iteration being the next whole epoch."""
        epochs = iter(range(start_epoch, stop_epoch))

        def rows() -> Iterator[Packed]:
            # Runs when the first batch is asked for, so an iterator that `fit` makes and drops
            # takes no epoch.
            epoch = next(epochs)
            yield from self._rows(epoch, 0, epoch + 1)

        return _of_length(self._measured(rows), self.order.steps_per_epoch)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Raise what reading failed with in place of what TensorFlow makes of it.

        Raises:
            IntegrityError: A shard is not what was committed.
            StoreUnavailableError: The store did not answer.
            TrainingError: Reading failed otherwise; a full disk is one worker's own and no refusal
                of all.
        """
        try:
            yield
        except Exception as error:
            if self._failure is None:
                raise
            if isinstance(self._failure, InputError):
                raise TrainingError(self._failure.message) from error
            raise self._failure from error

    def _rows(self, epoch: int, step: int, stop_epoch: int) -> Iterator[Packed]:
        try:
            yield from self._feed.rows(epoch, step, stop_epoch=stop_epoch)
        except ShardlineError as error:
            self._failure = error
            raise

    def _measured(self, rows: Callable[[], Iterator[Packed]]) -> Any:
        stream = packed_batches(rows, self._feed)
        label = self._feed.groups.layout.columns[-1].name
        return self.wait.measured(_labelled(stream, label, self.class_weights))


def packed_batches(rows: Callable[[], Iterator[Packed]], feed: Feed) -> Any:
    """What a feed yields as a `tf.data.Dataset` of one dictionary of columns per step.

    Handing each step's columns over one by one takes ten times as long as handing over the blocks
    of several steps, which TensorFlow cuts apart without Python.
    """
    import tensorflow as tf

    layout, batch = feed.groups.layout, feed.local_batch
    specs = tuple(
        tf.TensorSpec((None, block.width), tf.string if block.is_text else block.dtype)
        for block in layout.blocks
    )

    def by_step(*blocks: Any) -> Any:
        shapes = [(-1, batch, block.width) for block in layout.blocks]
        steps = tuple(tf.reshape(b, shape) for b, shape in zip(blocks, shapes, strict=True))
        return tf.data.Dataset.from_tensor_slices(steps)

    stream = tf.data.Dataset.from_generator(rows, output_signature=specs).prefetch(1)
    return stream.flat_map(by_step).map(lambda *blocks: _columns_of(layout, blocks))


def one_epoch(feed: Feed, epoch: int) -> Any:
    """One epoch of a feed as a `tf.data.Dataset` of known length, a dictionary per step."""
    stream = packed_batches(lambda: feed.rows(epoch, 0, stop_epoch=epoch + 1), feed)
    return _of_length(stream.prefetch(PREFETCHED_BATCHES), feed.order.steps_per_epoch)


def _columns_of(layout: Layout, blocks: Sequence[Any]) -> dict[str, Any]:
    import tensorflow as tf

    found = {}
    for block, tensor in zip(layout.blocks, blocks, strict=True):
        widths = [prod(column.shape) for column in block.columns]
        if len(widths) == 1:
            parts = [tensor]
        elif not any(column.shape for column in block.columns):
            # Cut along the first axis nothing is copied; 50 columns take a quarter of the time.
            parts = tf.unstack(tf.transpose(tensor)[:, :, tf.newaxis])
        else:
            parts = tf.split(tensor, widths, axis=1)
        for column, part in zip(block.columns, parts, strict=True):
            shaped = tf.reshape(part, (len(part), *column.shape)) if column.shape else part
            found[column.name] = shaped
    return found


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
    import tensorflow as tf

    num_rows = dataset.split("validation").rows
    if num_rows == 0:
        return None
    wanted = (*columns, dataset.columns.label)
    share = worker_share(num_rows, rank=rank, world_size=world_size)
    block = read_block(store, dataset, "validation", rows=share, columns=wanted)
    specs = {c.name: tf.TensorSpec((None, *(c.shape or (1,))), c.tensor_dtype) for c in wanted}
    stream = tf.data.Dataset.from_generator(
        lambda: sequential_batches(block, batch_rows=batch_rows), output_signature=specs
    )
    return _of_length(_labelled(stream, wanted[-1].name), math.ceil(block.num_rows / batch_rows))


def _of_length(stream: Any, num_batches: int) -> Any:
    """Without a known length, Keras takes the end of the data for data that ran out."""
    import tensorflow as tf

    return stream.apply(tf.data.experimental.assert_cardinality(num_batches))


def _labelled(stream: Any, label: str, class_weights: Any = None) -> Any:
    """Dictionaries of columns as (features, label) or (features, label, weight)."""
    import tensorflow as tf

    def split(batch: dict[str, Any]) -> tuple[Any, ...]:
        features = {name: value for name, value in batch.items() if name != label}
        if class_weights is None:
            return features, batch[label]
        classes = tf.cast(tf.reshape(batch[label], (-1,)), tf.int64)
        return features, batch[label], tf.gather(class_weights, classes)

    return stream.map(split).prefetch(PREFETCHED_BATCHES)
