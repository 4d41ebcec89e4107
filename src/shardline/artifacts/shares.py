"""Shares: which rank writes which tensors of the replicas that all ranks hold."""

import heapq
from collections.abc import Mapping


def share_of(sizes: Mapping[str, int], *, rank: int, world_size: int) -> list[str]:
    """Names of the tensors that a rank writes.

    A pure function of the sizes, so ranks need not tell each other; longest processing time first
    (Graham, "Bounds on multiprocessing timing anomalies", 1969): the largest share is at most 4/3
    of the best possible.

    Args:
        sizes: Bytes of every tensor, by name.
        rank: Whose share.
        world_size: How many ranks divide the tensors.
    """
    loads = [(0, each) for each in range(world_size)]
    share = []
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        load, lightest = heapq.heappop(loads)
        heapq.heappush(loads, (load + sizes[name], lightest))
        if lightest == rank:
            share.append(name)
    return sorted(share)
