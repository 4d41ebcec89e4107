"""Keeps the workers' copies of the model one model: start weights, drift and statistics."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardline.artifacts.variables import host_array
from shardline.errors import ModelError
from shardline.training.exchange.peers import Exchange

# Words that are added at once; their sums stay in the nearest cache.
WORDS = 4096
# Odd, so that multiplying by it loses nothing modulo 2^64 (Knuth's, of PCG and of MMIX).
FACTOR = np.uint64(6364136223846793005)


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


def make_equal(model: Any, exchange: Exchange, *, share: float) -> None:
    """Make sure that all ranks hold the same bits: weights, optimizer and running statistics.

    Running statistics, such as batch normalization's, are what each rank saw of its own rows. They
    are moving averages, linear in what was seen, so their mean over ranks, by share, is the average
    over all and takes their place. Anything else must be equal already. One small message per rank,
    when it is.

    Args:
        model: This rank's.
        exchange: Connects the ranks.
        share: Of each global batch's rows, what this rank takes.

    Raises:
        ModelError: A variable differs that no rank's own rows may change.
    """
    if exchange.world_size == 1:
        return
    variables = _all_variables(model)
    digests = np.array([digest_of(value_of(v)) for v in variables], dtype=np.uint64)
    gathered = exchange.all_gather(digests.tobytes())
    everyone = np.stack([np.frombuffer(message, dtype=np.uint64) for message in gathered])
    differing = [variables[i] for i in np.flatnonzero((everyone != everyone[0]).any(axis=0))]
    statistics = {id(v) for v in model.non_trainable_variables if "float" in str(v.dtype)}
    for variable in differing:
        if id(variable) not in statistics:
            raise ModelError(
                f"variable {variable.path!r} differs between workers: only gradients that go "
                "through model.optimizer are averaged; let a custom train_step apply all of them "
                "there, or train on one worker."
            )
    sums = exchange.all_reduce([value_of(variable) * share for variable in differing])
    for variable, mean in zip(differing, sums, strict=True):
        variable.assign(mean)


def draw_apart(model: Any, rank: int) -> None:
    """Give this rank random numbers of its own, rank 0 those of a worker alone.

    The seeds' states advance alike on all ranks. With equal seeds too, dropout would hide the same
    units of the first row of every worker's batch, of the second, and so on.
    """
    if rank == 0:
        return
    for layer in model._flatten_layers():
        for generator in layer._seed_generators:
            generator.next = _moved(generator.next, rank)


def digest_of(array: "np.ndarray[Any, Any]") -> np.uint64:
    """A polynomial of an array's bits modulo 2^64, at the speed of memory.

    Twice as fast as `zlib.crc32`, ten times as fast as a cryptographic hash: what is looked for is
    drift, not an adversary.
    """
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    whole = data.size // 8 // WORDS * WORDS * 8
    sums = np.full(WORDS, data.size, dtype=np.uint64)
    for row in data[:whole].view(np.uint64).reshape(-1, WORDS):
        np.multiply(sums, FACTOR, out=sums)
        np.add(sums, row, out=sums)
    rest = hashlib.blake2b(data[whole:].tobytes() + sums.tobytes(), digest_size=8)
    return np.uint64(int.from_bytes(rest.digest(), "little"))


def value_of(variable: Any) -> NDArray[Any]:
    """A variable's value, not copied where TensorFlow keeps it on the host."""
    return np.asarray(host_array(variable))


def _all_variables(model: Any) -> list[Any]:
    """All that a checkpoint holds; the order is that of building, the same on all ranks."""
    return [*model.variables, *model.optimizer.variables]


def _moved(draw: Callable[..., Any], rank: int) -> Callable[..., Any]:
    def draw_of_rank(*args: Any, **kwargs: Any) -> Any:
        seed = draw(*args, **kwargs)
        return seed + np.array([rank, 0], dtype=seed.dtype.as_numpy_dtype)

    return draw_of_rank
