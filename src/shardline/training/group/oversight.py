"""What happens on Ray's controller beside a worker group: deaths told, drained nodes noticed."""

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback

from shardline.cluster.resources import draining_nodes
from shardline.store import Store
from shardline.training.group.incidents import write_incidents
from shardline.training.stopping.failures import told_by_ranks
from shardline.training.stopping.requests import STOP_GRACE_S, request_stop, stop_training

DRAIN_POLL_S = 2.0

logger = logging.getLogger(__name__)


class Oversight(ControllerCallback, WorkerGroupCallback):  # type: ignore[misc]  # ray ships no types
    """Made by the driver, lives on the controller.

    Takes the place of Ray's own preemption watcher: that is an actor more, and only reports what
    training would have to ask for at a barrier.

    Args:
        store_uri: Where the run lives.
        run: Its name.
        settings: Ray Train's, for the controller alone.
    """

    def __init__(self, store_uri: str, run: str, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._store_uri = store_uri
        self._run = run
        self._incidents: list[str] = []
        self._group: Any = None
        self._told = False
        self._looked_s = 0.0

    def after_controller_start(self, train_run_context: Any) -> None:
        """Apply the settings: Ray reads them when it makes a worker group."""
        os.environ.update(self._settings)

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Watch this group from now on."""
        self._group = worker_group
        self._told = False

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Tell of failed workers, or look for nodes that are about to leave."""
        errors = worker_group_status.errors
        try:
            if errors and not self._told:
                self._tell(errors)
            elif not errors and time.monotonic() - self._looked_s >= DRAIN_POLL_S:
                self._looked_s = time.monotonic()
                self._stop_before_drain()
        except Exception:
            # The boundary: a store or a control service that does not answer for a moment must
            # not end a run, which is what Ray makes of an error in a callback.
            logger.warning("could not look after the workers", exc_info=True)

    def before_worker_group_abort(self, worker_group_context: Any) -> None:
        """The driver was interrupted: let the workers commit their last step."""
        if self._group is not None:
            stop_group(self._group, "the command was interrupted")

    def _stop_before_drain(self) -> None:
        leaving = draining_nodes()
        nodes = {worker.metadata.node_id for worker in self._group.get_workers()}
        for node in sorted(nodes & leaving):
            self._group.execute_async(request_stop, f"node {node[:8]} is being drained")

    def _tell(self, errors: dict[int, Exception]) -> None:
        self._told = True
        told = told_by_ranks(errors)
        logger.warning("the workers stopped: %s", told)
        self._incidents.append(told)
        write_incidents(Store(self._store_uri), self._run, self._incidents)


def stop_group(worker_group: Any, reason: str) -> None:
    """Let healthy workers commit their last step; returns when they have, or after a grace time."""
    calls = worker_group.execute_async(stop_training, reason)
    ray.wait(calls, num_returns=len(calls), timeout=STOP_GRACE_S)
