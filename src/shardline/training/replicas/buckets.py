"""Buckets of gradients: what is summed together, and in what memory."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# Larger tensors are summed where they lie; smaller ones are copied together first: a bucket costs
# about 0.2 ms of calls, as much as it takes to copy 2 MB.
LARGE_BYTES = 1 << 20
PACK_BYTES = 1 << 22
# TensorFlow copies arrays that begin elsewhere (EIGEN_MAX_ALIGN_BYTES).
ALIGNMENT = 64

Array = Any
"""numpy array."""


def plan_buckets(
    num_bytes: Sequence[int],
    kinds: Sequence[str],
    *,
    large_bytes: int = LARGE_BYTES,
    pack_bytes: int = PACK_BYTES,
) -> list[tuple[int, ...]]:
    """Which tensors are summed together, in the order in which a backward pass makes them.

    Args:
        num_bytes: Size of every tensor, in the order of the forward pass.
        kinds: Their dtypes; a bucket has one.
        large_bytes: From this size on a tensor is a bucket of its own.
        pack_bytes: Smaller ones are put together until they have this size.

    Returns:
        Indices into the arguments; every one is in one bucket.
    """
    buckets: list[tuple[int, ...]] = []
    open_packs: dict[str, list[int]] = {}
    for index in reversed(range(len(num_bytes))):
        if num_bytes[index] >= large_bytes:
            buckets.append((index,))
            continue
        pack = open_packs.setdefault(kinds[index], [])
        pack.append(index)
        if sum(num_bytes[member] for member in pack) >= pack_bytes:
            buckets.append(tuple(open_packs.pop(kinds[index])))
    buckets.extend(tuple(pack) for pack in open_packs.values())
    return buckets


class ReusedMemory:
    """Arrays that are handed out again once nobody holds them any more.

    TensorFlow takes an aligned result of a host call without a copy, keeps a reference to it for as
    long as it reads it, and may even make it a variable's value or write into it, so neither the
    end of a step nor a number of steps says when the memory is free: its references do. Fresh
    memory for every step would cost a page fault every 4 KiB.
    """

    def __init__(self) -> None:
        self._owners: dict[int, list[Array]] = {}

    def take(self, num_bytes: int) -> Array:
        """An aligned uint8 array with arbitrary content; its views count as holders too."""
        owners = self._owners.setdefault(num_bytes, [])
        for position in range(len(owners)):
            # The list's reference and the argument's; every view outside holds one more.
            if sys.getrefcount(owners[position]) == 2:
                return _aligned(owners[position], num_bytes)
        owners.append(np.empty(num_bytes + ALIGNMENT, np.uint8))
        return _aligned(owners[-1], num_bytes)

    @property
    def num_bytes(self) -> int:
        """All memory ever made."""
        return sum(owner.nbytes for owners in self._owners.values() for owner in owners)


def packed_layout(sizes: Sequence[int], itemsize: int) -> tuple[list[int], int]:
    """Where tensors of these sizes begin in a packed one, each aligned, and its whole size."""
    step = max(ALIGNMENT // itemsize, 1)
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // step) * step
    return starts, end


def _aligned(owner: Array, num_bytes: int) -> Array:
    start = -owner.ctypes.data % ALIGNMENT
    return owner[start : start + num_bytes]
