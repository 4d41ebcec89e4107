"""What workers tell each other during training, and how a worker finds its peers."""

from collections.abc import Sequence
from typing import Any, Protocol

Arrays = Sequence[Any]
"""numpy arrays."""


class Exchange(Protocol):
    """Connects the workers of one group. Every rank makes the same calls in the same order."""

    rank: int
    world_size: int

    def all_reduce(self, arrays: Arrays) -> list[Any]:
        """Element-wise sums over all ranks, bit-identical on each; the inputs stay untouched."""

    def all_gather(self, message: bytes) -> list[bytes]:
        """Everyone's message, by rank."""

    def expect_answers_within(self, timeout_s: float) -> None:
        """From now on, take a peer that is silent for longer for one that is stuck."""

    def close(self) -> None:
        """Let go of the peers."""


class Alone:
    """The exchange of a single worker."""

    rank = 0
    world_size = 1

    def all_reduce(self, arrays: Arrays) -> list[Any]:
        """The arrays themselves."""
        return list(arrays)

    def all_gather(self, message: bytes) -> list[bytes]:
        """The message itself."""
        return [message]

    def expect_answers_within(self, timeout_s: float) -> None:
        """There is nobody to wait for."""

    def close(self) -> None:
        """Nothing to let go of."""


# The backend joins the ring on the actor's main thread, the train function runs in another thread
# of the same process: this is where they meet.
_joined: list[tuple[Exchange, Exchange]] = []


def join(exchange: Exchange, background: Exchange) -> None:
    """Make these the process's exchanges, in place of ones left by an earlier worker group.

    Args:
        exchange: For the training thread.
        background: For the thread that commits checkpoints: calls of two threads over one
            connection would mix, in another way on every rank.
    """
    leave()
    _joined.append((exchange, background))


def joined() -> Exchange:
    """The training thread's exchange; `Alone` when the process was never joined to others."""
    return _joined[-1][0] if _joined else Alone()


def joined_background() -> Exchange:
    """The background thread's exchange; `Alone` when the process was never joined to others."""
    return _joined[-1][1] if _joined else Alone()


def leave() -> None:
    """Close the process's exchanges, if any."""
    while _joined:
        for exchange in _joined.pop():
            exchange.close()
