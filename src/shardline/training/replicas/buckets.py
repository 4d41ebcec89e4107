"""Buckets of gradients: what is summed together, and where in it each tensor lies."""

from collections.abc import Sequence

from shardline.data.reused_memory import ALIGNMENT

# Larger tensors are summed where they lie; smaller ones are copied together first: a bucket costs
# about 0.2 ms of calls, as much as it takes to copy 2 MB.
LARGE_BYTES = 1 << 20
PACK_BYTES = 1 << 22


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


def packed_layout(sizes: Sequence[int], itemsize: int) -> tuple[list[int], int]:
    """Where tensors of these sizes begin in a packed one, each aligned, and its whole size."""
    step = max(ALIGNMENT // itemsize, 1)
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // step) * step
    return starts, end
