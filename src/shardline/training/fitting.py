"""Calls `fit` from wherever a run stands to its last epoch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shardline.artifacts.checkpoint import Cursor
from shardline.training.stream import TrainStream


def fit(model: Any, stream: TrainStream, *, start: Cursor, stop_epoch: int, **options: Any) -> None:
    """Fit from the cursor to the last epoch.

    An epoch that was begun before has fewer steps than the others, and Keras fixes the number of
    steps for all epochs of one `fit`, so it gets one of its own.
    """
    options |= {"shuffle": False, "verbose": 0}  # the stream has an order of its own
    steps = stream.order.steps_per_epoch
    if start.step:
        following = Cursor(epoch=start.epoch + 1, step=0)
        with _weights_left_alone(model):
            model.fit(
                stream.dataset(start, stop_epoch=following.epoch),
                steps_per_epoch=steps - start.step,
                initial_epoch=start.epoch,
                epochs=following.epoch,
                **options,
            )
        start = following
    if start.epoch == stop_epoch or model.stop_training:
        return
    if steps % model.steps_per_execution == 0:
        options["steps_per_epoch"] = steps
        data = stream.dataset(start, stop_epoch=stop_epoch)
    else:
        # `fit` rounds steps_per_epoch up to whole executions, into the next epoch's batches.
        data = stream.dataset_by_epoch(start.epoch, stop_epoch=stop_epoch)
    model.fit(data, initial_epoch=start.epoch, epochs=stop_epoch, **options)


@contextmanager
def _weights_left_alone(model: Any) -> Iterator[None]:
    """Keep `fit` from overwriting the weights with their moving averages when it returns.

    Unless a callback has ended training: then there is no other `fit` that would.
    """
    optimizer = model.optimizer
    finalize = optimizer.finalize_variable_values
    optimizer.finalize_variable_values = lambda weights: model.stop_training and finalize(weights)
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
