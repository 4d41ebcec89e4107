"""How many workers an elastic run has: what fits between its bounds, as nodes come and go."""

import time
from collections.abc import Sequence
from typing import Any

from ray.train.v2._internal.execution.scaling_policy import NoopDecision
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy

from shardline.cluster.resources import Demand, NodeResources, free_nodes, workers_on

SETTLE_S = 3.0
POLL_S = 0.5


def room_for(wanted: Demand, free: Sequence[NodeResources]) -> int:
    """How many of the wanted workers start on what is free, at most all."""
    return min(wanted.workers, sum(workers_on(node, wanted) for node in free))


class Settling:
    """Holds a number back until it is the highest possible or has stayed the same for a while.

    The resources of a group that has ended, or of a node that joins, come back one by one.
    """

    def __init__(self) -> None:
        self._number = 0
        self._since_s = 0.0

    def settled(self, number: int, *, highest: int, now_s: float) -> bool:
        """Whether to take the number."""
        if number != self._number:
            self._number, self._since_s = number, now_s
        return number == highest or now_s - self._since_s >= SETTLE_S


class FollowNodes(ElasticScalingPolicy):  # type: ignore[misc]  # ray ships no types
    """Ray's elastic policy, on what is free on living nodes now.

    Ray's own (2.60) counts what nodes offer in all, in use or not, from a list that is up to 20 s
    old, and then waits for the start timeout for workers that fit nowhere.

    Args:
        scaling_config: Ray's, with `num_workers=(min, max)`.
        wanted: As many workers as there may be.
    """

    def __init__(self, scaling_config: Any, wanted: Demand) -> None:
        super().__init__(scaling_config)
        self._wanted = wanted
        self._settling = Settling()
        self._looked_s = 0.0

    def make_decision_for_non_running_worker_group(self) -> Any:
        """Start with what fits, once that is the most possible or has settled."""
        self._maybe_send_resource_request()
        room = room_for(self._wanted, free_nodes())
        highest = self._wanted.workers
        if room >= self.scaling_config.min_workers and self._settling.settled(
            room, highest=highest, now_s=time.monotonic()
        ):
            return self._get_resize_decision(room)
        time.sleep(POLL_S)  # Ray's loop asks again at once
        return NoopDecision()

    def make_decision_for_running_worker_group(
        self, worker_group_state: Any, worker_group_status: Any
    ) -> Any:
        """Grow when more fit; a group that lost a node has failed and starts anew by itself."""
        self._maybe_send_resource_request()
        now_s = time.monotonic()
        looked_s = max(worker_group_state.start_time, self._looked_s)
        if now_s - looked_s < self.scaling_config.elastic_resize_monitor_interval_s:
            return NoopDecision()
        self._looked_s = now_s
        workers: int = worker_group_state.num_workers
        room = min(self._wanted.workers, workers + room_for(self._wanted, free_nodes()))
        return self._get_resize_decision(room) if room > workers else NoopDecision()
