"""Keeps the workers' copies of the model one model: start weights, drift and statistics."""

import hashlib
import logging
import zlib
from typing import Any

import numpy as np

from shardline.errors import ModelError
from shardline.training.exchange import Exchange

logger = logging.getLogger(__name__)


def check_same_start(model: Any, exchange: Exchange) -> None:
    """Make sure that all ranks built the same model.

    Raises:
        ModelError: The digests of structure and weights differ.
    """
    digest = hashlib.sha256()
    for variable in model.variables:
        digest.update(f"{variable.path}{tuple(variable.shape)}{variable.dtype}".encode())
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    digests = exchange.all_gather(digest.digest())
    odd = [rank for rank, other in enumerate(digests) if other != digests[0]]
    if odd:
        raise ModelError(
            f"ranks {odd} built another model than rank 0 from the same code and seed; "
            "the builder must not use the clock, the rank or unseeded randomness."
        )


def check_still_equal(model: Any, exchange: Exchange) -> None:
    """Make sure that the ranks' trainable variables have not drifted apart.

    Raises:
        ModelError: A variable differs, so some gradient was applied without being averaged.
    """
    sums = [zlib.crc32(variable.numpy().tobytes()) for variable in model.trainable_variables]
    everyone = exchange.all_gather(np.array(sums, dtype=np.uint32).tobytes())
    for index, variable in enumerate(model.trainable_variables):
        if len({sums_of[4 * index : 4 * index + 4] for sums_of in everyone}) > 1:
            raise ModelError(
                f"variable {variable.path!r} differs between workers: only gradients that go "
                "through model.optimizer are averaged; let a custom train_step apply all of them "
                "there, or train on one worker."
            )


def average_statistics(model: Any, exchange: Exchange) -> None:
    """Replace non-trainable floats that differ between ranks by their mean.

    These are running statistics, such as batch normalization's: each rank saw its own rows. They
    are moving averages, linear in what was seen, so the mean over ranks is the average over all.
    """
    floats = [v for v in model.non_trainable_variables if "float" in str(v.dtype)]
    values = [variable.numpy() for variable in floats]
    digests = exchange.all_gather(b"".join(hashlib.sha256(v.tobytes()).digest() for v in values))
    differing = [
        index
        for index in range(len(values))
        if len({digest[32 * index : 32 * (index + 1)] for digest in digests}) > 1
    ]
    sums = exchange.all_reduce([values[index] for index in differing])
    for index, total in zip(differing, sums, strict=True):
        floats[index].assign(total / exchange.world_size)


def refuse_false_synchronisation(model: Any, exchange: Exchange) -> None:
    """Refuse layers that promise to synchronise through `tf.distribute`, which is not in use.

    Raises:
        ModelError: A batch normalization with `synchronized=True` on more than one worker.
    """
    layers = [layer for layer in model._flatten_layers() if hasattr(layer, "momentum")]
    for layer in layers:
        if exchange.world_size > 1 and getattr(layer, "synchronized", False):
            raise ModelError(
                f"layer {layer.name!r} asks for synchronized=True, which has no effect across "
                "shardline's workers; leave it out: running statistics are averaged over workers."
            )
        if exchange.world_size > 1 and exchange.rank == 0 and hasattr(layer, "moving_mean"):
            logger.warning(
                "layer %s normalises with each worker's own batch: results depend on the number of "
                "workers; use LayerNormalization or GroupNormalization for exact equality",
                layer.name,
            )
