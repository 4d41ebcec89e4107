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

    def close(self) -> None:
        """Nothing to let go of."""


# The backend joins the ring on the actor's main thread, the train function runs in another thread
# of the same process: this is where they meet.
_joined: list[Exchange] = []


def join(exchange: Exchange) -> None:
    """Make this the process's exchange, in place of one left by an earlier worker group."""
    leave()
    _joined.append(exchange)


def joined() -> Exchange:
    """The process's exchange; `Alone` when it was never joined to others."""
    return _joined[-1] if _joined else Alone()


def leave() -> None:
    """Close the process's exchange, if any."""
    while _joined:
        _joined.pop().close()
