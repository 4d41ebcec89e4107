"""Takes every batch of a `tf.data` pipeline inside TensorFlow, as Keras does."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def taking(stream: Any) -> Callable[[], int]:
    """A call that takes one epoch and returns its rows; traced beforehand.

    `Dataset.reduce` has another thread run its function for every element. On two cores that took
    48 us of processors for a batch of 51 tensors, and two switches of threads, which is nobody's
    input pipeline; run where the batch is taken, as here, the function takes 6 us.
    """
    none = tf.constant(0, tf.int64)

    @tf.function
    def counted(rows: Any, *batch: Any) -> tuple[Any]:
        return (rows + tf.shape(batch[0], tf.int64)[0],)

    specs = tf.nest.flatten(stream.element_spec)
    call = counted.get_concrete_function(tf.TensorSpec((), tf.int64), *specs)

    def epoch() -> int:
        (rows,) = tf.raw_ops.ReduceDataset(
            input_dataset=tf.data.experimental.to_variant(stream),
            initial_state=[none],
            other_arguments=[],
            f=call,
            output_types=[tf.int64],
            output_shapes=[()],
            use_inter_op_parallelism=False,
        )
        return int(rows)

    return epoch
