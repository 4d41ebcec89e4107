"""Keeps the gRPC server that Ray Serve starts inside every replica off the public interfaces."""

import logging
from typing import Any

logger = logging.getLogger(__name__)


def bind_to_node_address() -> None:
    """Make this replica's internal server listen on its node's address only.

    Ray 2.60 binds it to `[::]:0` whatever the settings say (`ray/serve/_private/replica.py`,
    `_on_initialized`), and unpickles what it receives: whoever reaches the port runs code. Only
    Serve's own processes call it, at the node's address, which is loopback in a local session.
    To be called in the replica's constructor, before that server starts.
    """
    import ray
    from ray.serve._private import replica

    address = ray.util.get_node_ip_address()
    original = getattr(replica, "add_port_to_grpc_server", None)
    if original is None:
        logger.error(
            "Ray Serve's internal gRPC server listens on EVERY interface of this machine: this "
            "version of Ray cannot be told otherwise. Close its port range with a firewall."
        )
        return

    def add_port(server: Any, requested: str) -> int:
        return int(original(server, requested.replace("[::]", address)))

    replica.add_port_to_grpc_server = add_port
