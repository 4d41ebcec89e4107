"""Makes every optimizer step apply the mean of all ranks' gradients."""

from collections.abc import Sequence
from typing import Any

import keras

from shardline.training.replicas.gradients import GradientSums


def average_gradients(model: Any, sums: GradientSums | None, *, weight: float) -> None:
    """Make the model's optimizer apply the mean of all ranks' gradients.

    The exchange sits in front of the outermost optimizer's `apply`, where `fit` and every custom
    `train_step` pass through, and before loss scaling looks for overflow, so that all ranks see the
    same values and take the same decision. The mean weighted by the ranks' shares of the rows is
    the gradient of the global batch. All ranks must make this call at the same time.

    Args:
        model: Compiled.
        sums: Connects the ranks; None for a worker alone.
        weight: This rank's rows of a global batch, divided by all.
    """
    # A step with an exchange in it cannot be compiled (TensorFlow 2.21 refuses host calls and
    # collectives under XLA), and on CPU compiled small conv nets run at half speed.
    model.jit_compile = False
    optimizer = model.optimizer
    apply = optimizer.apply

    def apply_mean(grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        mean = _without_repeats(grads) if sums is None else _mean_over_ranks(grads, sums)
        return apply(mean, trainable_variables)

    optimizer.apply = apply_mean
    if sums is None:
        return
    if loss_has_share(model):
        _share_before_scaling(optimizer, weight)
        weight = 1.0
    sums.share(weight)


def loss_has_share(model: Any) -> bool:
    """Whether a rank's share of the rows is in its loss already, not only in its gradients."""
    return isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def _share_before_scaling(optimizer: Any, weight: float) -> None:
    """Multiply this rank's share into the loss, so that 16-bit gradients are the size of one row's.

    After the backward pass would be too late: the mean over a worker's few rows has larger
    gradients than the mean over all, and would overflow where one worker alone would not.
    """
    scale = optimizer.scale_loss
    optimizer.scale_loss = lambda loss: scale(loss * weight)


def _without_repeats(gradients: Sequence[Any]) -> list[Any]:
    """Sparse gradients with one value per row.

    Keras squares the values as they are (keras 3.15, `sparse.elementwise_unary`), so that for a row
    that a batch asks for twice, Adam and clipping would see other numbers than for a dense
    gradient, which is what the sum over several workers is.
    """
    import tensorflow as tf

    def unique(gradient: Any) -> Any:
        if not isinstance(gradient, tf.IndexedSlices):
            return gradient
        rows, places = tf.unique(gradient.indices)
        values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
        return tf.IndexedSlices(values, rows, gradient.dense_shape)

    return [unique(gradient) for gradient in gradients]


def _mean_over_ranks(gradients: Sequence[Any], sums: GradientSums) -> list[Any]:
    import tensorflow as tf

    present = [index for index, gradient in enumerate(gradients) if gradient is not None]
    dense = [tf.convert_to_tensor(gradients[index]) for index in present]
    mean = list(gradients)
    for index, value in zip(present, sums.mean(dense), strict=True):
        mean[index] = value
    return mean
