"""TFRecord files and `tf.data`: tensors, through a shuffle buffer or, cached, in random order.

A row is one `Example` of the row's bytes and its label, which parse in a tenth of the time that 50
floats take. Examples are parsed by the batch.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from taking import taking

from peer_feeds import SHUFFLE_BUFFER_ROWS, Epochs, RawRows

FILES = 16
READ_BYTES = 1 << 20
PARSED = {
    "x": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([1], tf.int64),
}


def open_feed(raw: RawRows) -> Epochs:
    """Epochs that read the files, and epochs of records in memory."""
    for threads in (
        tf.config.threading.set_intra_op_parallelism_threads,
        tf.config.threading.set_inter_op_parallelism_threads,
    ):
        threads(raw.cores)
    features, labels = raw.arrays()
    paths = [str(raw.own_folder / f"{number}.tfrecord") for number in range(FILES)]
    for number, path in enumerate(paths):
        if not Path(path).exists():
            write(path, features[number::FILES], labels[number::FILES])
    width, dtype = features.shape[1], tf.as_dtype(features.dtype)

    def parse(serialized: Any) -> tuple[Any, Any]:
        found = tf.io.parse_example(serialized, PARSED)
        return tf.reshape(tf.io.decode_raw(found["x"], dtype), (-1, width)), found["label"]

    def batched(records: Any) -> Any:
        batches = records.batch(raw.batch, drop_remainder=True)
        parsed = batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        return parsed.prefetch(tf.data.AUTOTUNE)

    read = reading(paths)
    return {
        "first: from files, buffer": consuming(batched(read.shuffle(SHUFFLE_BUFFER_ROWS))),
        "later: in memory, random order": consuming(batched(read.cache().shuffle(len(labels)))),
        "later: in memory, buffer": consuming(
            batched(reading(paths).cache().shuffle(SHUFFLE_BUFFER_ROWS))
        ),
    }


def write(path: str, features: Any, labels: Any) -> None:
    with tf.io.TFRecordWriter(path) as writer:
        for row, label in zip(features, labels, strict=True):
            values = {
                "x": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.tobytes()])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=values))
            writer.write(example.SerializeToString())


def reading(paths: list[str]) -> Any:
    """All records, four files at a time in another order in every epoch."""
    files = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths))
    return files.interleave(
        lambda path: tf.data.TFRecordDataset(path, buffer_size=READ_BYTES),
        cycle_length=4,
        block_length=16,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=False,
    )


def consuming(dataset: Any) -> Callable[[int], Iterator[int]]:
    """Whole epochs inside TensorFlow, as Keras takes them; traced and filled beforehand."""
    take = taking(dataset)
    take()

    def epoch(_: int) -> Iterator[int]:
        yield take()

    return epoch
