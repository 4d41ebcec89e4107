"""Parts of the work that every rank does by itself, and whose failure all must hear of."""

from collections.abc import Callable
from typing import TypeVar

from shardline.errors import InputError, ModelError
from shardline.training.exchange.peers import Exchange

Result = TypeVar("Result")


def agreed(exchange: Exchange, part: Callable[[], Result]) -> Result:
    """The result of a part, once all ranks have done theirs.

    A rank that refused alone would leave its peers waiting, and only rank 0's answer is read.

    Args:
        exchange: Connects the workers; the part itself must not use it.
        part: What every rank does.

    Raises:
        InputError: This rank's refusal, or that of another, on all ranks.
    """
    refusal: InputError | None = None
    try:
        result = part()
    except InputError as error:
        refusal = error
    told = exchange.all_gather((refusal.message if refusal else "").encode())
    if refusal is not None:
        raise refusal
    for rank, said in enumerate(told):
        if said:
            raise ModelError(f"rank {rank}: {said.decode()}")
    return result
