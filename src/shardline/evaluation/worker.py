"""The model's own metrics over a split, batch by batch, in a process with TensorFlow."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from shardline.artifacts.candidate import Candidate, RestoredModel, restored_model
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.evaluation import EvaluationManifest, evaluation_key
from shardline.artifacts.figures import figures
from shardline.data.manifest import DatasetManifest
from shardline.data.reading import column_to_numpy, read_split
from shardline.data.schema import Column
from shardline.model.builder import model_arguments
from shardline.spec.data import SplitName
from shardline.store import Store, dump_marker

PREFETCHED_BATCHES = 4

Batch = dict[str, Any]


def evaluate_candidate(
    candidate: Candidate, split: SplitName, *, clock: Clock = unix_clock
) -> EvaluationManifest:
    """Evaluate a checkpoint on every row of a split and commit the result beside the run.

    Raises:
        ModelError: The builder fails.
        IntegrityError: Checkpoint or shards are damaged.
    """
    store, dataset, checkpoint = candidate.store, candidate.dataset, candidate.checkpoint
    restored = restored_model(candidate)
    stream = _stream(store, dataset, split, restored, batch_rows=candidate.spec.score.batch)
    logs = restored.model.evaluate(stream, return_dict=True, verbose=0)
    manifest = EvaluationManifest(
        run=checkpoint.run,
        step=checkpoint.step,
        checkpoint_digest=checkpoint.digest,
        builder_digest=candidate.builder_digest,
        dataset=dataset.name,
        dataset_version=dataset.version,
        split=split,
        rows=dataset.split(split).rows,
        metrics=figures(logs),
        created_unix_s=clock(),
    )
    # Replaces the evaluation of other weights: a run that was deleted and trained anew.
    store.write(evaluation_key(checkpoint, dataset), dump_marker(manifest))
    return manifest


def split_batches(
    store: Store,
    dataset: DatasetManifest,
    split: SplitName,
    columns: Sequence[Column],
    *,
    batch_rows: int,
) -> Iterator[Batch]:
    """Every row of a split once, one shard in memory at a time.

    Yields:
        Arrays of shape (rows, *shape), (rows, 1) for scalars; at most `batch_rows` rows, fewer at
        the end of a shard.
    """
    names = [column.name for column in columns]
    for table in read_split(store, dataset, split, columns=names):
        arrays = {
            column.name: column_to_numpy(table[column.name], column).reshape(
                -1, *(column.shape or (1,))
            )
            for column in columns
        }
        for start in range(0, table.num_rows, batch_rows):
            yield {name: array[start : start + batch_rows] for name, array in arrays.items()}


def _stream(
    store: Store,
    dataset: DatasetManifest,
    split: SplitName,
    restored: RestoredModel,
    *,
    batch_rows: int,
) -> Any:
    """A `tf.data.Dataset` of (model arguments, label)."""
    import tensorflow as tf

    label = dataset.columns.label
    columns = (*restored.inputs, label)
    specs = {
        column.name: tf.TensorSpec((None, *(column.shape or (1,))), column.tensor_dtype)
        for column in columns
    }

    def split_off_label(batch: Batch) -> tuple[Any, Any]:
        features = {name: batch[name] for name in specs if name != label.name}
        return model_arguments(restored.model, features), batch[label.name]

    stream = tf.data.Dataset.from_generator(
        lambda: split_batches(store, dataset, split, columns, batch_rows=batch_rows),
        output_signature=specs,
    )
    # Without a known length, Keras takes the end of the data for data that ran out.
    num_batches = sum(math.ceil(s.rows / batch_rows) for s in dataset.split(split).shards)
    stream = stream.apply(tf.data.experimental.assert_cardinality(num_batches))
    return stream.map(split_off_label).prefetch(PREFETCHED_BATCHES)
