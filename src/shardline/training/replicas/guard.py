"""Stops a run whose loss or gradients are no longer finite, before anything of it is committed."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from shardline.artifacts.checkpoint import Cursor
from shardline.data.order import Order
from shardline.errors import NotFiniteError

NAMED_ROWS = 10


class GradientGuard:
    """Notes the first optimizer step whose gradients are not finite.

    Must be made before gradients are averaged over ranks: the guard then sees the mean, and all
    ranks see the same. One sum per gradient, without a call to Python while all is well.

    Args:
        optimizer: The model's; one with loss scaling is left alone, as it skips such steps itself.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self._bad_iteration: int | None = None
        if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            self._apply = optimizer.apply
            optimizer.apply = self._guarded_apply

    def steps_since(self) -> int | None:
        """Optimizer steps taken from the bad one on, it included; None when all are good."""
        if self._bad_iteration is None:
            return None
        return int(self._optimizer._iterations) - self._bad_iteration

    def _guarded_apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        import tensorflow as tf

        present = [getattr(gradient, "values", gradient) for gradient in grads]
        # Nothing but a number that is not finite makes such a sum: 16 bits are widened first.
        sums = [tf.reduce_sum(tf.cast(g, tf.float32)) for g in present if g is not None]
        if sums:
            iteration = tf.convert_to_tensor(self._optimizer._iterations)
            tf.cond(
                tf.math.is_finite(tf.add_n(sums)),
                lambda: tf.constant(False),
                lambda: tf.numpy_function(self._note, [iteration], tf.bool),
            )
        return self._apply(grads, trainable_variables)

    def _note(self, iteration: Any) -> bool:
        if self._bad_iteration is None:
            self._bad_iteration = int(iteration)
        return True


class RefuseNotFinite(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Ends training at a step whose loss or gradients are not finite; must come before `Record`.

    Args:
        guard: Watches the gradients.
        order: Tells which rows the step took.
        start: Where training continues.
        report: Takes a loss that is not finite: other ranks have not seen it. Averaged gradients
            are the same on all.
    """

    def __init__(
        self,
        guard: GradientGuard,
        *,
        order: Order,
        start: Cursor,
        report: Callable[[NotFiniteError], None],
    ) -> None:
        super().__init__()
        self._report = report
        self._guard = guard
        self._order = order
        self._first_step = start.step
        self._epoch = start.epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note where the epoch begins."""
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Epochs after the first are whole."""
        self._first_step = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at what the step left.

        Raises:
            NotFiniteError: Gradients are not finite.
        """
        # Keras counts whole executions, also where the epoch ends inside one.
        end = min(self._first_step + batch + 1, self._order.steps_per_epoch)
        steps_since = self._guard.steps_since()
        if steps_since is not None:
            at = Cursor(epoch=self._epoch, step=end - steps_since)
            raise not_finite("gradients", self._order, at)
        # A running mean: once not finite, it stays so until the epoch ends.
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            at = Cursor(epoch=self._epoch, step=end - 1)
            self._report(not_finite("loss", self._order, at))


def not_finite(what: str, order: Order, at: Cursor) -> NotFiniteError:
    """The error that names a step and its rows.

    Args:
        what: `loss` or `gradients`.
        order: The order of the training data.
        at: The step.
    """
    rows = order.batch_rows(epoch=at.epoch, step=at.step, lanes=range(order.num_lanes))
    named = ", ".join(str(row) for row in rows[:NAMED_ROWS])
    step = at.epoch * order.steps_per_epoch + at.step
    more = f", … ({len(rows)} in all)" if len(rows) > NAMED_ROWS else ""
    return NotFiniteError(
        f"{what} became NaN or infinite at step {step} (epoch {at.epoch}), on rows {named}{more} "
        "of the train split; look at these rows, lower the learning rate or clip the gradients."
    )
