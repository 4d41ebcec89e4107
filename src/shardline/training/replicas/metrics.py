"""Metrics over all workers' rows, in the logs that every later callback sees."""

import json
from typing import Any

import keras
import numpy as np

from shardline.artifacts.figures import figures
from shardline.errors import ModelError
from shardline.training.exchange.peers import Exchange
from shardline.training.replicas.equality import make_equal, value_of

Logs = dict[str, Any]


class GlobalMetrics(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Puts figures over all workers' rows into the logs that every later callback sees.

    The states of Keras metrics are sums over rows, so their sum over ranks is the state of one
    process that saw all rows. What a custom step returns besides metrics is one figure per rank;
    its mean takes its place. Must be the first callback.

    Args:
        exchange: Connects the workers.
        share: This rank's part of a global batch.
    """

    def __init__(self, exchange: Exchange, *, share: float) -> None:
        super().__init__()
        self._share = share
        self._exchange = exchange
        self._step_logs: Logs = {}
        self._train: Logs = {}
        self._validation: Logs = {}

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Forget the last epoch."""
        self._train, self._validation = {}, {}

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Keep the last step's logs; reading them would wait for the step."""
        self._step_logs = logs or {}

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Validation is about to reset the states: read the training metrics now."""
        self._train = self.global_logs(self._step_logs)
        # All ranks validate the same model.
        make_equal(self.model, self._exchange, share=self._share)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Read the validation metrics; a worker whose share was empty has no logs of its own."""
        self._validation = self.global_logs(logs or {})
        if logs is not None:
            logs.update(self._validation)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Replace this worker's numbers by everybody's."""
        if logs is not None:
            found = self._train or self.global_logs(logs)
            for name in [name for name, value in logs.items() if np.ndim(value)]:
                del logs[name]  # a vector; its numbers have names of their own
            logs.update(found)
            logs.update({f"val_{name}": value for name, value in self._validation.items()})

    def global_logs(self, local: Logs) -> dict[str, float]:
        """What one process would log that saw all rows.

        Args:
            local: This rank's logs; empty when it had no rows.

        Returns:
            Under the names that any rank logged; the model's own states stay as they are.
        """
        own, everybodys = self._results()
        local = figures(local)
        names = _names_of_all(local, self._exchange)
        # A custom step may log a figure of its own under a metric's name.
        of_metrics = local.keys() == own.keys()
        plain = [
            not of_metrics and name in local and local[name] != own.get(name) for name in names
        ]
        total, count, differing = self._exchange.all_reduce(
            [
                self._share * np.array([local.get(name, 0.0) for name in names]),
                self._share * np.array([name in local for name in names], dtype=np.float64),
                np.array(plain, dtype=np.float64),
            ]
        )
        return {
            name: float(total[i] / count[i]) if differing[i] else everybodys[name]
            for i, name in enumerate(names)
        }

    def _results(self) -> tuple[dict[str, float], dict[str, float]]:
        """This rank's results, and those of the states summed over ranks."""
        variables = self.model.metrics_variables
        own = figures(self.model.get_metrics_result())
        local = [np.array(value_of(variable)) for variable in variables]
        _check_same_states(variables, self._exchange)
        assign_all(variables, self._exchange.all_reduce(local))
        everybodys = figures(self.model.get_metrics_result())
        assign_all(variables, local)
        return own, everybodys


def weigh_output_losses(model: Any) -> None:
    """Make the losses that Keras logs per output means over rows, on any number of workers.

    Keras asks for the static number of rows, which a traced step does not know, and so counts a
    short last batch like a whole one (keras 3.15, `CompileLoss.call`): other batches, other means.
    """
    losses = model._compile_loss
    if losses is None:
        return
    call = losses.call

    def call_weighing(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        if not losses.built:
            losses.build(y_true, y_pred)
        rows = keras.ops.shape(keras.tree.flatten(y_pred)[0])[0]
        for metric in losses.metrics:
            metric.update_state = _weighing(metric, rows)
        return call(y_true, y_pred, sample_weight)

    losses.call = call_weighing


def assign_all(variables: list[Any], values: list[Any]) -> None:
    """Assign values to variables, pairwise."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _names_of_all(local: Logs, exchange: Exchange) -> list[str]:
    """What any rank logged, in one order."""
    everyone = exchange.all_gather(json.dumps(list(local)).encode())
    return sorted({name for message in everyone for name in json.loads(message)})


def _check_same_states(variables: list[Any], exchange: Exchange) -> None:
    shapes = json.dumps([[v.name, list(v.shape), str(v.dtype)] for v in variables])
    if len(set(exchange.all_gather(shapes.encode()))) > 1:
        raise ModelError(
            "the workers' metrics have different states; make metrics in the builder, not in a "
            "step that some workers never take."
        )


def _weighing(metric: Any, rows: Any) -> Any:
    def update_state(value: Any, sample_weight: Any = None) -> Any:  # noqa: ARG001  # Keras's
        return type(metric).update_state(metric, value, sample_weight=rows)

    return update_state
