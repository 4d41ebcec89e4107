"""Where a streamed write goes: a file object that counts and hashes what passes."""

import hashlib
import io
from collections.abc import Callable
from typing import Any

Take = Callable[[memoryview], None]
"""Takes the next bytes of an object; they may change once it has returned."""


class Sink(io.RawIOBase):
    """A writable file object; what is written appears in the store when its block ends well.

    Args:
        take: What becomes of the bytes.
    """

    def __init__(self, take: Take) -> None:
        self.size = 0
        """Bytes so far."""
        self._take = take
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes so far."""
        return self._digest.hexdigest()

    def writable(self) -> bool:
        """Yes, and nothing else."""
        return True

    def tell(self) -> int:
        """Bytes so far."""
        return self.size

    def write(self, data: Any) -> int:
        """Add bytes; all are taken."""
        view = memoryview(data).cast("B")
        self._take(view)
        self._digest.update(view)
        self.size += len(view)
        return len(view)
