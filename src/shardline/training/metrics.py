"""Metrics over all workers' rows, in the logs that every later callback sees."""

from typing import Any

import keras

from shardline.training.exchange import Exchange


class GlobalMetrics(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Puts metrics over all workers' rows into the logs that every later callback sees.

    The states of Keras metrics are sums over rows, so their sum over ranks is the state of one
    process that saw all rows. Must be the first callback.

    Args:
        exchange: Connects the workers.
    """

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange
        self._train: dict[str, Any] = {}
        self._validation: dict[str, Any] = {}
        self._adds_validation = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Forget the last epoch."""
        self._train, self._validation = {}, {}
        self._adds_validation = False

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Validation is about to reset the states: read the training metrics now."""
        self._train = self.states_result()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Read the validation metrics; a worker whose share was empty has no logs of its own."""
        self._validation = self.states_result()
        self._adds_validation = not logs
        _replace(logs, self._validation)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Replace this worker's numbers by everybody's."""
        _replace(logs, self._train or self.states_result())
        validation = {f"val_{name}": value for name, value in self._validation.items()}
        _replace(logs, validation)
        if self._adds_validation and logs is not None:
            logs.update(validation)

    def states_result(self) -> dict[str, float]:
        """The metrics of the summed states; this worker's own states stay as they are."""
        variables = self.model.metrics_variables
        local = [variable.numpy() for variable in variables]
        assign_all(variables, self._exchange.all_reduce(local))
        result = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        assign_all(variables, local)
        return result


def _replace(logs: dict[str, Any] | None, values: dict[str, Any]) -> None:
    """Overwrite what is there: a custom step's own logs keep their keys."""
    if logs is not None:
        logs.update({name: value for name, value in values.items() if name in logs})


def assign_all(variables: list[Any], values: list[Any]) -> None:
    """Assign values to variables, pairwise."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
