"""What a model may not have on several workers, and what makes its result depend on their number.

Found when training starts: the first is refused with a sentence, the second said in one log line.
"""

import logging
from collections.abc import Iterator
from typing import Any

from shardline.errors import ModelError
from shardline.training.exchange.peers import Exchange

logger = logging.getLogger(__name__)


def check_exactness(model: Any, exchange: Exchange) -> None:
    """Refuse what would train another model than the user wrote; say what cannot be exact.

    Raises:
        ModelError: An optimizer that belongs to other variables or that nobody averages, or a loss
            that adds up a worker's rows.
    """
    _refuse_foreign_optimizer(model)
    if exchange.world_size == 1:
        return
    _refuse_further_optimizers(model)
    _refuse_summed_losses(model)
    if exchange.rank == 0:
        _say_what_is_inexact(model)


def _say_what_is_inexact(model: Any) -> None:
    """One log line that names the layers which see a worker's own rows only."""
    layers = list(model._flatten_layers())
    kinds = {
        "normalise by a worker's own rows (synchronized=True changes that)": [
            layer for layer in layers if _normalises_alone(layer)
        ],
        "draw random numbers per worker": [layer for layer in layers if _draws(layer)],
        "mask steps, and a masked loss is divided by a worker's own count": [
            layer for layer in layers if _masks(layer)
        ],
    }
    found = [
        f"{', '.join(layer.name for layer in which)} {what}"
        for what, which in kinds.items()
        if which
    ]
    if found:
        logger.warning("results depend on the number of workers: %s", "; ".join(found))


def _refuse_foreign_optimizer(model: Any) -> None:
    optimizer = model.optimizer
    own = {id(variable) for variable in model.trainable_variables}
    if optimizer.built and not own <= {id(v) for v in optimizer._trainable_variables}:
        raise ModelError(
            f"the model's optimizer {optimizer.name!r} was built for another model's variables; "
            "make a new optimizer each time the builder is called."
        )
    for layer in model._flatten_layers(include_self=False):
        if hasattr(layer, "optimizer") and layer.optimizer is optimizer:
            raise ModelError(
                f"the model shares its optimizer {optimizer.name!r} with the model {layer.name!r} "
                "inside it; give each model an optimizer of its own."
            )


def _refuse_further_optimizers(model: Any) -> None:
    known = {id(model.optimizer), id(getattr(model.optimizer, "inner_optimizer", None))}
    for name, optimizer in _optimizers(model):
        if id(optimizer) not in known:
            raise ModelError(
                f"the model has an optimizer of its own, {name!r}; on several workers only "
                "gradients that go through model.optimizer are averaged and saved: use that one, "
                "or train on one worker."
            )


def _optimizers(model: Any) -> Iterator[tuple[str, Any]]:
    """Optimizers among the model's attributes."""
    import keras

    for name, value in vars(model).items():
        members = value.values() if isinstance(value, dict) else value
        for member in members if isinstance(value, dict | list | tuple) else [value]:
            if isinstance(member, keras.optimizers.Optimizer):
                yield name, member


def _refuse_summed_losses(model: Any) -> None:
    import keras

    losses = keras.tree.flatten(model.loss)
    refused: set[str | None] = {"sum"}
    if type(model).train_step is keras.Model.train_step:  # another may reduce by itself
        refused |= {"none", None, "mean_with_sample_weight"}
    for loss in losses:
        if isinstance(loss, keras.losses.Loss) and loss.reduction in refused:
            raise ModelError(
                f"a loss with reduction={loss.reduction!r} is no mean over the rows of a worker's "
                "batch, so its gradient would depend on the number of workers; leave the reduction "
                "out: the mean is taken."
            )


def _normalises_alone(layer: Any) -> bool:
    if not (layer.trainable and hasattr(layer, "moving_mean")):
        return False
    return not getattr(layer, "synchronized", False)


def _draws(layer: Any) -> bool:
    rates = [getattr(layer, name, None) for name in ("rate", "dropout", "recurrent_dropout")]
    known = [rate for rate in rates if rate is not None]
    return bool(layer._seed_generators) and (not known or any(known))


def _masks(layer: Any) -> bool:
    return bool(getattr(layer, "mask_zero", False) or type(layer).__name__ == "Masking")
