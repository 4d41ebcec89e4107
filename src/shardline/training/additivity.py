"""Whether the states of a user's own metrics may be added up over workers.

Those of all Keras metrics may: sums, counts, confusion matrices. One that keeps a maximum may not,
and its figure over all rows cannot be had from the figures of the workers.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from shardline.errors import ModelError

TOLERANCE = 1e-3


def refuse_unaddable(model: Any, batches: Any) -> None:
    """Refuse metrics of the user's own whose state over all rows is not the sum of the parts.

    Evaluates two batches, each alone and one after the other. Does nothing when all metrics are
    Keras's.

    Args:
        model: Compiled and built.
        batches: Iterable of (features, label); only asked when it is needed.

    Raises:
        ModelError: A state after both batches is not the sum of the states after each.
    """
    if not any(_has_own_update(metric) for metric in _metrics_of(model)):
        return
    first, second = (batch for batch, _ in zip(batches, range(2), strict=False))
    alone = [_states_after(model, [batch]) for batch in (first, second)]
    both = _states_after(model, [first, second])
    model.reset_metrics()
    for metric in filter(_has_own_update, _metrics_of(model)):
        for variable in metric.variables:
            parts = [states[id(variable)] for states in alone]
            if not np.allclose(both[id(variable)], sum(parts), rtol=TOLERANCE, atol=TOLERANCE):
                raise ModelError(
                    f"metric {metric.name!r} keeps a state, {variable.name!r}, that is not a sum "
                    "over rows, so it cannot be combined over workers; keep sums and counts and "
                    "divide in result(), or train on one worker."
                )


def _metrics_of(model: Any) -> Iterator[Any]:
    """All metrics, those given to `compile` in any nesting included."""
    compiled = model._compile_metrics
    given = [] if compiled is None else [compiled._user_metrics, compiled._user_weighted_metrics]
    for metric in keras.tree.flatten([given, list(model.metrics)]):
        if isinstance(metric, keras.metrics.Metric):
            yield metric


def _has_own_update(metric: Any) -> bool:
    return not type(metric).update_state.__module__.startswith("keras.")


def _states_after(model: Any, batches: Sequence[Any]) -> dict[int, Any]:
    """States of all metrics by identity of their variables."""
    model.reset_metrics()
    for batch in batches:
        model.test_step(batch)
    return {id(variable): np.array(variable.value) for variable in model.metrics_variables}
