"""Whether the states of a user's own metrics may be added up over workers.

Those of all Keras metrics may: sums, counts, confusion matrices. One that keeps a maximum may not,
and its figure over all rows cannot be had from the figures of the workers.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from shardline.errors import ModelError

TOLERANCE = 1e-3


def refuse_unaddable(model: Any, batches: Iterable[Any]) -> None:
    """Refuse metrics of the user's own whose state over all rows is not the sum of the parts.

    Evaluates a batch once and then twice over. Does nothing when all metrics are Keras's.

    Args:
        model: Compiled and built.
        batches: Of (features, label); the first one is taken when it is needed.

    Raises:
        ModelError: A state after the batch came twice is not twice the state after it came once.
    """
    if not any(_has_own_update(metric) for metric in _metrics_of(model)):
        return
    batch = next(iter(batches))
    once, twice = (_states_after(model, batch, times) for times in (1, 2))
    model.reset_metrics()
    for metric in filter(_has_own_update, _metrics_of(model)):
        for variable in metric.variables:
            expected = 2.0 * once[id(variable)]
            if not np.allclose(twice[id(variable)], expected, rtol=TOLERANCE, equal_nan=True):
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


def _states_after(model: Any, batch: Any, times: int) -> dict[int, Any]:
    """States of all metrics by identity of their variables."""
    model.reset_metrics()
    for _ in range(times):
        model.test_step(batch)
    return {id(variable): np.array(variable.value) for variable in model.metrics_variables}
