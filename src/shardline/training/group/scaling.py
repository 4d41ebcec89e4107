"""How many workers an elastic run has: what fits between its bounds, as nodes come and go."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ray.train.v2._internal.execution.scaling_policy import NoopDecision
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy

from shardline.cluster.resources import Demand, NodeResources, free_nodes, workers_on

SETTLE_S = 3.0
POLL_S = 0.5


def room_for(wanted: Demand, free: Sequence[NodeResources]) -> int:
    """How many of the wanted workers start on what is free, at most all."""
    return min(wanted.workers, sum(workers_on(node, wanted) for node in free))


def with_own(
    free: Mapping[str, NodeResources], own: Mapping[str, int], wanted: Demand
) -> list[NodeResources]:
    """What would be free without one's own workers.

    Args:
        free: What is not in use, by node id; nodes that are gone or going are missing.
        own: Number of own workers, by node id.
        wanted: What each worker holds.
    """
    return [
        NodeResources(
            cpus=offer.cpus + own.get(node, 0) * wanted.cpus_per_worker,
            gpus=offer.gpus + own.get(node, 0) * wanted.gpus_per_worker,
        )
        for node, offer in free.items()
    ]


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


class FixedHere(FixedScalingPolicy):  # type: ignore[misc]  # ray ships no types
    """A fixed number of workers on a Ray that this process has started.

    Ray's own (2.60) first asks for nodes, through an actor that takes a process and seconds to
    start, and here nobody could add any.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Ask for nothing."""

    def _maybe_send_resource_request(self) -> None:
        pass


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
        self._own: Mapping[str, int] = {}

    def before_controller_execute_resize_decision(self, resize_decision: Any) -> None:
        """A group that has ended holds its resources until the next one is started."""
        self._own = {}

    def make_decision_for_non_running_worker_group(self) -> Any:
        """Start with what fits, once that is the most possible or has settled."""
        self._maybe_send_resource_request()
        room = room_for(self._wanted, with_own(free_nodes(), self._own, self._wanted))
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
        self._own = Counter(worker.metadata.node_id for worker in worker_group_state.workers)
        now_s = time.monotonic()
        looked_s = max(worker_group_state.start_time, self._looked_s)
        if now_s - looked_s < self.scaling_config.elastic_resize_monitor_interval_s:
            return NoopDecision()
        self._looked_s = now_s
        workers: int = worker_group_state.num_workers
        room = room_for(self._wanted, with_own(free_nodes(), self._own, self._wanted))
        return self._get_resize_decision(room) if room > workers else NoopDecision()
