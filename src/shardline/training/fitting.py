"""Calls `fit` from wherever a run stands to its last epoch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shardline.artifacts.checkpoint import Cursor
from shardline.errors import ModelError
from shardline.training.stream import TrainStream


def fit(model: Any, stream: TrainStream, *, start: Cursor, stop_epoch: int, **options: Any) -> None:
    """Fit from the cursor to the last epoch.

    An epoch that was begun before has fewer steps than the others, and Keras fixes the number of
    steps for all epochs of one `fit`, so it gets one of its own.
    """
    options |= {"shuffle": False, "verbose": 0}  # the stream has an order of its own
    _make_state(model, stream.dataset(start, stop_epoch=stop_epoch).element_spec)
    steps = stream.order.steps_per_epoch
    if start.step:
        following = Cursor(epoch=start.epoch + 1, step=0)
        with _weights_left_alone(model, is_last=following.epoch == stop_epoch):
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


def _make_state(model: Any, batch: Any) -> None:
    """Make the optimizer's and the metrics' variables before the first step is traced.

    TensorFlow traces a step again when its first trace made variables: 0.9 s instead of 0.45 s for
    two dense layers, many times that for deep models. Keras does this itself on its other backends
    (keras 3.15, `JAXTrainer.fit`). A step of the user's own may call the model differently.

    Args:
        model: Compiled.
        batch: The structure of a batch, as `tf.TensorSpec`s.
    """
    import keras

    if type(model).train_step is keras.Model.train_step and "train_step" not in vars(model):
        try:
            model._symbolic_build(data_batch=batch)
        except Exception as error:  # layers, loss and metrics may be the user's own
            raise ModelError(
                "model, loss and metrics do not fit the dataset's features and label: "
                f"{type(error).__name__}: {error}"
            ) from error


@contextmanager
def _weights_left_alone(model: Any, *, is_last: bool) -> Iterator[None]:
    """Keep `fit` from overwriting the weights with their moving averages when it returns.

    Unless training ends with it, by itself or by a callback: then no other `fit` would.
    """
    optimizer = model.optimizer
    finalize = optimizer.finalize_variable_values

    def finalize_at_the_end(weights: Any) -> None:
        if is_last or model.stop_training:
            finalize(weights)

    optimizer.finalize_variable_values = finalize_at_the_end
    try:
        yield
    finally:
        del optimizer.finalize_variable_values
