"""Batch normalization with `synchronized=True`: the moments of the global batch.

One exchange forward (sum, sum of squares and count of every channel) and one backward. A layer's
output depends on every rank's rows through the moments, so the gradient of a sum over ranks is the
sum over ranks of the gradients (Zhang et al., "Context Encoding for Semantic Segmentation", CVPR
2018, section 3.3).
"""

from collections.abc import Callable
from typing import Any

from shardline.training.replicas.gradients import GradientSums

Moments = tuple[Any, Any]


def synchronise_normalisation(model: Any, sums: GradientSums | None, *, weight: float) -> None:
    """Make every batch normalization with `synchronized=True` use the moments of all ranks' rows.

    Only training is concerned: evaluation and export build models of their own and use the running
    statistics, which are then the same on all ranks. A worker alone computes its moments in the
    same way, so that rounding is the same too.

    Args:
        model: Built; its layers get the moments as an attribute of their own.
        sums: Connects the ranks; None for a worker alone.
        weight: This rank's share of the global batch.
    """
    for layer in model._flatten_layers():
        if getattr(layer, "synchronized", False) and hasattr(layer, "_moments"):
            layer._moments = _moments_of(layer._reduction_axes, sums, weight)


def _moments_of(
    axes: list[int], sums: GradientSums | None, weight: float
) -> Callable[[Any, Any], Moments]:
    def over_ranks(vector: Any) -> Any:
        return vector if sums is None else sums.over_ranks([vector])[0]

    def moments(inputs: Any, mask: Any) -> Moments:
        import tensorflow as tf

        present = None
        if mask is not None:
            present = tf.cast(tf.broadcast_to(mask[..., None], tf.shape(inputs)), inputs.dtype)
        return global_moments(inputs, present, axes=axes, over_ranks=over_ranks, weight=weight)

    return moments


def global_moments(
    inputs: Any,
    present: Any | None,
    *,
    axes: list[int],
    over_ranks: Callable[[Any], Any],
    weight: float,
) -> Moments:
    """Mean and variance of every channel over all ranks' rows.

    Args:
        inputs: Float tensor of any shape.
        present: Of the same shape: 1 where an input counts, 0 where a mask hides it; None when all
            count.
        axes: What is averaged over.
        over_ranks: Sums a float64 vector over the ranks.
        weight: This rank's share of the global batch. The ranks' gradients are averaged with these
            weights afterwards, so what comes from the others is weighted against it here.

    Returns:
        Tensors [channels], the same on all ranks.
    """
    import tensorflow as tf

    def summed(parts: list[Any]) -> list[Any]:
        """Sums of tensors of one shape, in one exchange."""
        packed = tf.stack(parts)
        total = over_ranks(tf.reshape(packed, [-1]))
        return list(tf.unstack(tf.reshape(total, tf.shape(packed)), num=len(parts)))

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def moments(values: Any) -> tuple[Moments, Callable[..., Any]]:
        # In float64, because squares of means cancel; these vectors are too small to cost anything.
        mean, variance, count = _local_moments(values, present, axes)
        total, squares, number = summed([mean * count, (variance + mean * mean) * count, count])
        number = tf.maximum(number, 1.0)
        mean = total / number
        variance = tf.maximum(squares / number - mean * mean, 0.0)

        def gradient(of_mean: Any, of_variance: Any) -> Any:
            shape = tf.shape(mean)
            local = [tf.reshape(part, shape) for part in (of_mean, of_variance)]
            of_mean, of_variance = (
                tf.cast(part / (weight * number), values.dtype)
                for part in summed([weight * tf.cast(part, tf.float64) for part in local])
            )
            by_value = of_mean + 2.0 * of_variance * (values - tf.cast(mean, values.dtype))
            return by_value if present is None else by_value * present

        channels = [tf.reshape(tf.cast(part, values.dtype), [-1]) for part in (mean, variance)]
        return tuple(channels), gradient

    result: Moments = moments(inputs)
    return result


def _local_moments(values: Any, present: Any | None, axes: list[int]) -> tuple[Any, Any, Any]:
    """Mean, variance and count of this rank's own rows, in float64, reduced axes kept."""
    import tensorflow as tf

    if present is None:
        mean, variance = tf.nn.moments(values, axes, keepdims=True)
        count = tf.ones_like(mean) * tf.cast(tf.size(values) / tf.size(mean), mean.dtype)
    else:
        count = tf.reduce_sum(present, axes, keepdims=True)
        mean = tf.math.divide_no_nan(tf.reduce_sum(values * present, axes, keepdims=True), count)
        deviations = tf.square(values - mean) * present
        variance = tf.math.divide_no_nan(tf.reduce_sum(deviations, axes, keepdims=True), count)
    return tuple(tf.cast(part, tf.float64) for part in (mean, variance, count))
