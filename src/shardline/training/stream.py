"""The batches of a worker as `tf.data` datasets that `fit` and `evaluate` iterate."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

from shardline.artifacts.checkpoint import Cursor
from shardline.data.batches import open_feed, open_validation, read_block
from shardline.data.feed import Feed
from shardline.data.manifest import DatasetManifest
from shardline.data.packing import Layout, Packed
from shardline.data.schema import Column
from shardline.errors import InputError, ShardlineError, TrainingError
from shardline.spec.train import TrainSpec
from shardline.store import Store
from shardline.training.journal.data_wait import DataWait
from shardline.training.memory import keeping_freed_memory

PREFETCHED_BATCHES = 4

Columns = dict[str, Any]
"""Tensors by column name."""


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
        self._train = train
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

    def validation(self) -> Any | None:
        """This worker's share of the validation split, every row once; None if the split has none.

        Returns:
            A `tf.data.Dataset` of (features, label).
        """
        store, dataset, share = self._place
        if dataset.split("validation").rows == 0:
            return None
        layout = self._feed.groups.layout
        found = open_validation(
            store, dataset, columns=layout.columns, train=self._train, share=share
        )
        labelled = partial(_labelled, label=layout.columns[-1].name)
        stream = packed_batches(
            lambda: self._noted(found.rows()),
            layout,
            found.batch_rows,
            labelled,
            ahead=blocks_ahead(found.batches_at_once),
            last_is_short=True,
        )
        return _of_length(stream, found.num_batches)

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
        rows = self._feed.rows(epoch, step, stop_epoch=stop_epoch, by_column=True)
        return self._noted(rows)

    def _noted(self, rows: Iterator[Packed]) -> Iterator[Packed]:
        """The same; what reading fails with is remembered."""
        try:
            yield from rows
        except ShardlineError as error:
            self._failure = error
            raise

    def _measured(self, rows: Callable[[], Iterator[Packed]]) -> Any:
        layout = self._feed.groups.layout
        labelled = partial(_labelled, label=layout.columns[-1].name, weights=self.class_weights)
        kept = keeping_freed_memory(rows)
        ahead = blocks_ahead(self._feed.steps_at_once)
        stream = packed_batches(kept, layout, self._feed.local_batch, labelled, ahead=ahead)
        return self.wait.measured(stream)


def packed_batches(
    rows: Callable[[], Iterator[Packed]],
    layout: Layout,
    batch_rows: int,
    arranged: Callable[[Columns], Any] = dict,
    *,
    ahead: int,
    last_is_short: bool = False,
) -> Any:
    """Packed rows as a `tf.data.Dataset` of batches.

    Handing each step's columns over one by one takes ten times as long as handing over the blocks
    of several steps. Those are cut into columns at once and only then into steps, since whatever is
    done for each step costs as much as its columns: 50 of them take half the time that way. What is
    made ahead are the columns of whole blocks, since a step's are views of them: waking a thread
    for each takes longer than making it.

    Args:
        rows: Yields packed rows, tables by column: whole batches, or the last one that is short.
        layout: How they are packed.
        batch_rows: Rows of a batch.
        arranged: Makes what the dataset yields of the columns, which have one axis more: steps.
        ahead: Blocks that are made before they are asked for.
        last_is_short: Whether the last batch may have fewer rows.
    """
    import tensorflow as tf

    def specs() -> Iterator[Any]:
        for block in layout.blocks:
            shape = (block.width, None) if block.is_table else (None, block.width)
            yield tf.TensorSpec(shape, tf.string if block.is_text else block.dtype)

    def columns(*blocks: Any) -> Any:
        rows = batch_rows
        if last_is_short:
            rows = tf.minimum(rows, tf.shape(blocks[0])[1 if layout.blocks[0].is_table else 0])
        return arranged(_columns_of(layout, blocks, rows))

    def by_step(*found: Any) -> Any:
        return tf.data.Dataset.from_tensor_slices(found if len(found) > 1 else found[0])

    options = tf.data.Options()
    # What they do for each batch, of 50 columns, costs a tenth of the pipeline and gains nothing.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    stream = tf.data.Dataset.from_generator(rows, output_signature=tuple(specs()))
    return stream.map(columns).prefetch(ahead).flat_map(by_step).with_options(options)


def one_epoch(feed: Feed, epoch: int) -> Any:
    """One epoch of a feed as a `tf.data.Dataset` of known length, a dictionary per step."""
    stream = packed_batches(
        lambda: feed.rows(epoch, 0, stop_epoch=epoch + 1, by_column=True),
        feed.groups.layout,
        feed.local_batch,
        ahead=blocks_ahead(feed.steps_at_once),
    )
    return _of_length(stream, feed.order.steps_per_epoch)


def blocks_ahead(batches_at_once: int) -> int:
    """Blocks of so many batches that are made before they are asked for."""
    return -(-PREFETCHED_BATCHES // batches_at_once)


def _columns_of(layout: Layout, blocks: Sequence[Any], batch_rows: Any) -> Columns:
    """Tensors of shape (steps, batch, *shape) by name; (steps, batch, 1) for scalar columns."""
    import tensorflow as tf

    found = {}
    for block, tensor in zip(layout.blocks, blocks, strict=True):
        if block.is_table:
            parts = tf.unstack(tensor)  # copies nothing along the first axis
        elif len(block.columns) > 1:
            parts = tf.split(tensor, [prod(column.shape) for column in block.columns], axis=1)
        else:
            parts = [tensor]
        for column, part in zip(block.columns, parts, strict=True):
            found[column.name] = tf.reshape(part, (-1, batch_rows, *(column.shape or (1,))))
    return found


def _of_length(stream: Any, num_batches: int) -> Any:
    """Without a known length, Keras takes the end of the data for data that ran out."""
    import tensorflow as tf

    return stream.apply(tf.data.experimental.assert_cardinality(num_batches))


def _labelled(columns: Columns, *, label: str, weights: Any = None) -> tuple[Any, ...]:
    """Columns as (features, label) or (features, label, weight of the row's class)."""
    import tensorflow as tf

    features = {name: value for name, value in columns.items() if name != label}
    if weights is None:
        return features, columns[label]
    classes = tf.cast(tf.squeeze(columns[label], -1), tf.int64)
    return features, columns[label], tf.gather(weights, classes)
