"""One node of a local cluster: a process that starts Ray's own and ends when told, or with them.

`ray start` does not do: told to use 127.0.0.1, it either listens on every interface or refuses to
start worker nodes.
"""

import argparse
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

from ray._private.node import Node
from ray._private.parameter import RayParams
from ray._private.utils import write_ray_address

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 256 << 20
POLL_S = 0.5


def main() -> int:
    """Start the node, say where it is, and stay until it ends."""
    options = _options()
    # Held for as long as this process lives: how `local.py` knows it from a stranger with its pid.
    lock = (options.folder / "alive").open("w", encoding="utf-8")
    fcntl.flock(lock, fcntl.LOCK_EX)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C means `local.py`, which then ends us
    head = options.join is None
    node = Node(_parameters(options), head=head, shutdown_at_exit=True, spawn_reaper=True)
    # Where jobs started by this node look up their cluster; without it they join any Ray they find.
    write_ray_address(node.gcs_address, str(options.folder))
    _announce(options.folder / "ready.json", address=node.gcs_address)
    while not node.dead_processes():
        time.sleep(POLL_S)
    names = ", ".join(str(name) for name, _ in node.dead_processes())
    sys.stderr.write(f"ended because these processes of Ray ended: {names}\n")
    return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One node of a local Ray cluster.")
    parser.add_argument("--folder", type=Path, required=True, help="private, with a short path")
    parser.add_argument("--cpus", type=int, required=True)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--join", metavar="HOST:PORT", help="be a worker node of this head")
    place.add_argument("--dashboard-port", type=int, help="be the head, with a dashboard there")
    return parser.parse_args()


def _parameters(options: argparse.Namespace) -> RayParams:
    parameters = RayParams(
        node_ip_address=LOOPBACK,
        num_cpus=options.cpus,
        num_gpus=0,
        object_store_memory=OBJECT_STORE_BYTES,
        temp_dir=str(options.folder),
        # Several nodes share one address, so every port is left to the system.
        min_worker_port=0,
        max_worker_port=0,
        dashboard_agent_listen_port=0,
    )
    if options.join is None:
        parameters.include_dashboard = True
        parameters.dashboard_host = LOOPBACK
        parameters.dashboard_port = options.dashboard_port
    else:
        parameters.gcs_address = options.join
    return parameters


def _announce(path: Path, **facts: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(facts), encoding="utf-8")
    os.replace(draft, path)  # noqa: PTH105  # in one step: a reader sees all of it or nothing


if __name__ == "__main__":
    sys.exit(main())
