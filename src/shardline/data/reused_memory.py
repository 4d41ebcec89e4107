"""Memory for arrays that TensorFlow takes over, handed out again once nobody holds them."""

import sys
from threading import Lock
from typing import Any

import numpy as np

# TensorFlow copies arrays that begin elsewhere (EIGEN_MAX_ALIGN_BYTES).
ALIGNMENT = 64
# Sizes are rounded up to one of so many between a power of two and the next.
SIZES_PER_DOUBLING = 4

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class ReusedMemory:
    """Arrays that are handed out again once nobody holds them any more; may be used by threads.

    TensorFlow takes an aligned result of a host call without a copy, keeps a reference to it for as
    long as it reads it, and may even make it a variable's value or write into it, so neither the
    end of a step nor a number of steps says when the memory is free: its references do. Fresh
    memory for every step would cost a page fault every 4 KiB, and TensorFlow has malloc give freed
    memory back to the kernel.
    """

    def __init__(self) -> None:
        self._owners: dict[int, list[Bytes]] = {}
        self._taking = Lock()

    def take(self, num_bytes: int) -> Bytes:
        """An aligned uint8 array with arbitrary content; its views count as holders too."""
        size = _rounded(num_bytes)
        with self._taking:
            owners = self._owners.setdefault(size, [])
            for position in range(len(owners)):
                # The list's reference and the argument's; every view outside holds one more.
                if sys.getrefcount(owners[position]) == 2:
                    return _aligned(owners[position], num_bytes)
            owners.append(np.empty(size + ALIGNMENT, np.uint8))
            return _aligned(owners[-1], num_bytes)

    @property
    def num_bytes(self) -> int:
        """All memory ever made; of what was rounded up, pages that nobody touched take none."""
        return sum(owner.nbytes for owners in self._owners.values() for owner in owners)


def _rounded(num_bytes: int) -> int:
    step = max(1, (1 << num_bytes.bit_length()) // (2 * SIZES_PER_DOUBLING))
    return -(-num_bytes // step) * step


def _aligned(owner: Bytes, num_bytes: int) -> Bytes:
    start = -owner.ctypes.data % ALIGNMENT
    return owner[start : start + num_bytes]
