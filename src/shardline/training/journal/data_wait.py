"""Measures how long the step loop waits for its next batch, inside the input pipeline itself."""

from typing import Any


class DataWait:
    """Time that the consumer of a `tf.data` pipeline spends waiting for it.

    Keras pulls batches inside the traced step, where no Python runs, so the pipeline takes the
    time: its last stages run on the consumer's own thread. They stamp the moment a batch is asked
    for, cut it from what was made ahead, and add up what that took; with a batch ready this is
    microseconds, with nothing ahead it is the wait. The cost, two clock readings and an addition
    per batch, is about 30 µs.
    """

    def __init__(self) -> None:
        import tensorflow as tf

        with tf.device("CPU:0"):
            self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    @property
    def seconds(self) -> float:
        """Waited so far."""
        return float(self._seconds.numpy())

    def measured(self, stream: Any) -> Any:
        """The same elements; taking them is measured. Must come last in the pipeline."""
        import tensorflow as tf

        asked = tf.data.Dataset.counter().map(lambda _: tf.timestamp())

        def arrived(asked_s: Any, *element: Any) -> Any:
            waited_s = self._seconds.assign_add(tf.timestamp() - asked_s)
            with tf.control_dependencies([waited_s]):
                return tf.nest.map_structure(tf.identity, element)

        options = tf.data.Options()
        # A buffer that TensorFlow adds behind the last stage would be what waits.
        options.experimental_optimization.inject_prefetch = False
        # `zip` asks its inputs in order: the clock first, then the buffer.
        zipped = tf.data.Dataset.zip(asked, stream)
        return zipped.map(lambda asked_s, element: arrived(asked_s, *element)).with_options(options)
