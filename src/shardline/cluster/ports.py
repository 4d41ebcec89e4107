"""TCP ports: whether one can be listened on, and which one is free."""

import random
import socket

# Below the system's ephemeral ports (32768 and up), above the blocks of `serve_environment`.
_UNCLAIMED_PORTS = range(32_288, 32_768)


def is_port_free(host: str, port: int) -> bool:
    """Whether nobody listens on this port where `host` would be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do it: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    """A port on which nobody listens now, and which nobody will be given by chance.

    A port from the system (`bind` to 0) lies in the ephemeral range, where the processes that Ray
    starts a moment later take theirs at random.

    Raises:
        OSError: The host is no address of this machine, or every port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
    for port in random.sample(_UNCLAIMED_PORTS, len(_UNCLAIMED_PORTS)):
        if is_port_free(host, port):
            return port
    raise OSError(f"every port of {host} in {_UNCLAIMED_PORTS} is taken")
