"""What the endpoint needs of Ray Serve beyond its public API, in one place; made for Ray 2.60."""

import logging
import time
from typing import Any

from shardline.errors import ServingError

_POLL_S = 0.1

logger = logging.getLogger(__name__)


def bind_to_node_address() -> None:
    """Make this replica's internal gRPC server listen on its node's address only.

    Ray binds it to `[::]:0` whatever the settings say (`ray/serve/_private/replica.py`,
    `_on_initialized`), and it unpickles what it receives: whoever reaches the port runs code. Only
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


def shut_serve_down(*, timeout_s: float = 60.0) -> None:
    """Stop Ray Serve in this session and wait until it is gone; nothing else is touched.

    `serve.shutdown()` waits inside a call of the very actor that then dies, and Ray prints that
    "failure" to the driver's standard output. Here the call returns and the death is awaited.

    Raises:
        ServingError: Serve is still there after `timeout_s`.
    """
    import ray
    from ray import serve as ray_serve
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    deadline_s = time.monotonic() + timeout_s
    try:
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        ray.get(controller.graceful_shutdown.remote(wait=False), timeout=timeout_s)
        while time.monotonic() < deadline_s:
            ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
            time.sleep(_POLL_S)
    except (ValueError, ray.exceptions.RayActorError):  # gone, or never there
        ray_serve.shutdown()  # forgets the connection that this process keeps
        return
    raise ServingError(f"Ray Serve did not stop within {timeout_s:g} s; end the Ray session.")
