"""Makes every optimizer step apply the mean of all ranks' gradients."""

from collections.abc import Sequence
from typing import Any

from shardline.training.gradients import GradientSums


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
    if sums is None:
        return
    sums.share(weight)
    optimizer = model.optimizer
    apply = optimizer.apply

    def apply_mean(grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        return apply(_mean_over_ranks(grads, sums), trainable_variables)

    optimizer.apply = apply_mean


def _mean_over_ranks(gradients: Sequence[Any], sums: GradientSums) -> list[Any]:
    import tensorflow as tf

    present = [index for index, gradient in enumerate(gradients) if gradient is not None]
    dense = [tf.convert_to_tensor(gradients[index]) for index in present]
    mean = list(gradients)
    for index, value in zip(present, sums.mean(dense), strict=True):
        mean[index] = value
    return mean
