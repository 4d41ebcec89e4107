"""Ray Train's hooks around a worker group: gather every rank's address, then join the ring.

Ray's own `TensorflowTrainer` is not used: its backend sets `TF_USE_LEGACY_KERAS=1` on every worker
(ray 2.60, `ray/train/tensorflow/config.py:47`), which turns Keras 3 off.
"""

import logging
import os
import secrets
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig

from shardline.training.exchange.peers import join, leave
from shardline.training.exchange.ring import Listener, TcpRing
from shardline.training.group.oversight import stop_group
from shardline.training.stopping.requests import stop_on_sigterm

SHUTDOWN_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)

# Filled by `_open_listeners` and emptied by `_join_rings`, two calls into one worker process.
_listeners: list[Listener] = []
# One ring for the training thread, one for the thread that commits checkpoints.
NUM_RINGS = 2
Address = tuple[str, int]


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
        addresses = worker_group.execute(_open_listeners)
        token = secrets.token_bytes(32)
        ray.get(
            [
                worker_group.execute_single_async(rank, _join_rings, rank, addresses, token)
                for rank in range(num_workers)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: KerasBackendConfig) -> None:
        """Let healthy workers commit their last step, then close the rings."""
        status = worker_group.get_latest_poll_status()
        if status is not None and not status.errors:
            stop_group(worker_group, "the group is resized")
        calls = worker_group.execute_async(leave)
        _, silent = ray.wait(calls, num_returns=len(calls), timeout=SHUTDOWN_TIMEOUT_S)
        for call in silent:
            logger.warning("rank %d does not answer and is killed", calls.index(call))


def _prepare_alone() -> None:
    _prepare_process()
    leave()


def _open_listeners() -> list[Address]:
    _prepare_process()
    host = ray.util.get_node_ip_address()
    _listeners[:] = [Listener(host) for _ in range(NUM_RINGS)]
    return [listener.address for listener in _listeners]


def _join_rings(rank: int, addresses: list[list[Address]], token: bytes) -> None:
    training, background = (
        TcpRing(rank, addresses=list(of_ring), listener=listener, token=token)
        for of_ring, listener in zip(zip(*addresses, strict=True), _listeners, strict=True)
    )
    _listeners.clear()
    join(training, background)


def _prepare_process() -> None:
    stop_on_sigterm()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
