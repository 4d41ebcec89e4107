"""Ray Train's hooks around a worker group: gather every rank's address, then join the ring.

Ray's own `TensorflowTrainer` is not used: its backend sets `TF_USE_LEGACY_KERAS=1` on every worker
(ray 2.60, `ray/train/tensorflow/config.py:47`), which turns Keras 3 off.
"""

import os
import secrets
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig

from shardline.training.exchange import join, leave
from shardline.training.ring import Listener, TcpRing

SHUTDOWN_TIMEOUT_S = 5.0

# Filled by `_open_listener` and emptied by `_join_ring`, two calls into the same worker process.
_listeners: list[Listener] = []


@dataclass
class KerasBackendConfig(BackendConfig):  # type: ignore[misc]  # ray ships no types
    """Workers that run Keras 3 on TensorFlow and exchange gradients over a TCP ring."""

    @property
    def backend_cls(self) -> type["KerasBackend"]:
        """The hooks."""
        return KerasBackend


class KerasBackend(Backend):  # type: ignore[misc]
    """Runs on Ray's controller; keeps no state, since Ray shares one instance between runs."""

    def on_start(self, worker_group: Any, backend_config: KerasBackendConfig) -> None:
        """Connect the ranks of a new or restarted group."""
        num_workers = len(worker_group)
        if num_workers == 1:
            worker_group.execute(_prepare_alone)
            return
        addresses = worker_group.execute(_open_listener)
        token = secrets.token_bytes(32)
        ray.get(
            [
                worker_group.execute_single_async(rank, _join_ring, rank, addresses, token)
                for rank in range(num_workers)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: KerasBackendConfig) -> None:
        """Close the ring; a worker that no longer answers is about to be killed anyway."""
        ray.wait(
            worker_group.execute_async(leave),
            num_returns=len(worker_group),
            timeout=SHUTDOWN_TIMEOUT_S,
        )


def _prepare_alone() -> None:
    _choose_keras()
    leave()


def _open_listener() -> tuple[str, int]:
    _choose_keras()
    _listeners.append(Listener(ray.util.get_node_ip_address()))
    return _listeners[-1].address


def _join_ring(rank: int, addresses: list[tuple[str, int]], token: bytes) -> None:
    join(TcpRing(rank, addresses=addresses, listener=_listeners.pop(), token=token))


def _choose_keras() -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
