"""Whether a cluster can hold the workers asked for, decided before anything starts."""

import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from shardline.errors import ResourceError

CONNECT_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Equal workers that must run at the same time; each fits on one node."""

    workers: int
    cpus_per_worker: float = 1
    gpus_per_worker: float = 0


@dataclass(frozen=True, slots=True)
class NodeResources:
    """What one living node of the cluster offers in all, in use or not."""

    cpus: float
    gpus: float = 0


def check_fits(
    wanted: Demand, nodes: Sequence[NodeResources], *, setting: str = "train.workers"
) -> None:
    """Refuse a demand that no moment of this cluster could meet.

    Args:
        wanted: The workers.
        nodes: The cluster.
        setting: Key of the spec that asks for the workers, for the message.

    Raises:
        ResourceError: The nodes together hold fewer such workers.
    """
    room = sum(workers_on(node, wanted) for node in nodes)
    if room >= wanted.workers:
        return
    raise ResourceError(
        f"{setting} asks for {described(wanted)}, the cluster holds {room} ({_offered(nodes)}); "
        f"lower {setting} or add nodes."
    )


def workers_on(node: NodeResources, wanted: Demand) -> int:
    """How many of the wanted workers one node holds."""
    rooms = [
        # Ray counts in ten-thousandths, so 0.3 / 0.1 is three workers, not 2.9999999999999996.
        math.floor(round(offered / needed, 4))
        for offered, needed in (
            (node.cpus, wanted.cpus_per_worker),
            (node.gpus, wanted.gpus_per_worker),
        )
        if needed
    ]
    return min(rooms, default=wanted.workers)


def described(wanted: Demand) -> str:
    """A demand in words, such as `2 workers of 1 CPU`."""
    asked = f"{_count(wanted.workers, 'worker')} of {_count(wanted.cpus_per_worker, 'CPU')}"
    if wanted.gpus_per_worker:
        asked += f" and {_count(wanted.gpus_per_worker, 'GPU')}"
    return asked


def cluster_nodes() -> list[NodeResources]:
    """The living nodes of the cluster this process is connected to."""
    import ray

    offers = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [NodeResources(cpus=offer.get("CPU", 0), gpus=offer.get("GPU", 0)) for offer in offers]


def free_nodes() -> dict[str, NodeResources]:
    """What is not in use on nodes that are alive and stay so, by node id."""
    import ray
    from ray._private.state import available_resources_per_node

    leaving = draining_nodes()
    free = available_resources_per_node()
    return {
        node["NodeID"]: NodeResources(cpus=offer.get("CPU", 0), gpus=offer.get("GPU", 0))
        for node in ray.nodes()
        if (offer := free.get(node["NodeID"])) and node["NodeID"] not in leaving
        # A node that was killed counts as alive for up to half a minute.
        if _accepts((node["NodeManagerAddress"], node["NodeManagerPort"]))
    }


def is_own_ray() -> bool:
    """Whether this process started the Ray it is connected to, which then adds no nodes."""
    from ray._private.worker import _global_node

    return _global_node is not None and bool(_global_node.is_head())


def draining_nodes() -> set[str]:
    """Ids of nodes that are about to be taken away, where no new work starts."""
    from ray._private.state import state

    return set(state.get_draining_nodes())


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _offered(nodes: Sequence[NodeResources]) -> str:
    cpus = _count(sum(node.cpus for node in nodes), "CPU")
    gpus = _count(sum(node.gpus for node in nodes), "GPU")
    return f"{_count(len(nodes), 'node')}: {cpus}, {gpus}"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"
