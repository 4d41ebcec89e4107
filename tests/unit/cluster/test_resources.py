"""Workers against nodes, counted node by node."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.cluster.resources import Demand, NodeResources, check_fits, workers_on
from shardline.errors import ResourceError

LAPTOP = NodeResources(cpus=2)


def test_check_fits_more_workers_than_cpus_says_what_is_there() -> None:
    with pytest.raises(ResourceError) as refused:
        check_fits(Demand(workers=8), [LAPTOP])
    assert refused.value.message == (
        "train.workers asks for 8 workers of 1 CPU, the cluster holds 2 (1 node: 2 CPUs, 0 GPUs); "
        "lower train.workers or add nodes."
    )
    assert refused.value.exit_code == 2


def test_check_fits_gpus_asked_of_cpu_nodes_names_both() -> None:
    with pytest.raises(ResourceError) as refused:
        check_fits(Demand(workers=1, cpus_per_worker=2, gpus_per_worker=1), [LAPTOP, LAPTOP])
    assert refused.value.message == (
        "train.workers asks for 1 worker of 2 CPUs and 1 GPU, the cluster holds 0 "
        "(2 nodes: 4 CPUs, 0 GPUs); lower train.workers or add nodes."
    )


def test_check_fits_cpus_scattered_over_nodes_do_not_add_up() -> None:
    with pytest.raises(ResourceError, match="the cluster holds 0 "):
        check_fits(Demand(workers=1, cpus_per_worker=4), [LAPTOP, LAPTOP])


def test_check_fits_as_many_workers_as_fit_passes() -> None:
    check_fits(Demand(workers=4), [LAPTOP, LAPTOP])
    check_fits(Demand(workers=2, cpus_per_worker=1, gpus_per_worker=1), [NodeResources(8, 2)])


def test_check_fits_other_setting_is_named() -> None:
    with pytest.raises(ResourceError, match=r"^serve\.replicas asks .*; lower serve\.replicas or"):
        check_fits(Demand(workers=3), [LAPTOP], setting="serve.replicas")


@pytest.mark.parametrize(("cpus", "each", "room"), [(0.3, 0.1, 3), (1, 0.3, 3), (2, 3, 0)])
def test_workers_on_fractions_are_counted_as_ray_does(cpus: float, each: float, room: int) -> None:
    assert workers_on(NodeResources(cpus=cpus), Demand(workers=1, cpus_per_worker=each)) == room


@given(
    workers=st.integers(1, 50),
    nodes=st.lists(st.builds(NodeResources, cpus=st.integers(0, 16), gpus=st.integers(0, 4))),
)
def test_check_fits_agrees_with_dealing_workers_out(
    workers: int, nodes: list[NodeResources]
) -> None:
    demand = Demand(workers=workers, cpus_per_worker=2, gpus_per_worker=1)
    dealt = sum(min(node.cpus // 2, node.gpus) for node in nodes)
    if dealt >= workers:
        check_fits(demand, nodes)
    else:
        with pytest.raises(ResourceError, match=f"the cluster holds {dealt:g} "):
            check_fits(demand, nodes)
