"""A ring of several ranks inside one process, each in a thread of its own."""

import os
from concurrent.futures import ThreadPoolExecutor

from shardline.training.exchange.ring import Listener, TcpRing


def with_ring(world_size, body, **options):
    """Run `body(ring)` on every rank, each in a thread of its own; results by rank."""
    token = os.urandom(32)
    listeners = [Listener("127.0.0.1") for _ in range(world_size)]
    addresses = [listener.address for listener in listeners]

    def rank_body(rank):
        ring = TcpRing(rank, addresses=addresses, listener=listeners[rank], token=token, **options)
        try:
            return body(ring)
        finally:
            ring.close()

    with ThreadPoolExecutor(world_size) as pool:
        return list(pool.map(rank_body, range(world_size)))
