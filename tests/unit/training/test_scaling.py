"""How many workers an elastic run has, and the wait for the first of them."""

import pytest

from shardline.cluster.resources import Demand, NodeResources
from shardline.errors import ResourceError
from shardline.training.group.launching import ROOM_TIMEOUT_S, wait_for_room
from shardline.training.group.scaling import Settling, room_for, with_own

PAIR = Demand(workers=2)


@pytest.mark.parametrize(("free", "expected"), [([], 0), ([1.5], 1), ([1, 0.5, 1], 2), ([4, 4], 2)])
def test_room_for_counts_whole_workers_up_to_all(free, expected):
    assert room_for(PAIR, [NodeResources(cpus=cpus) for cpus in free]) == expected


def test_with_own_counts_what_a_group_that_ended_still_holds():
    free = {"stays": NodeResources(cpus=0), "joined": NodeResources(cpus=1)}
    own = {"stays": 2, "gone": 1}
    assert with_own(free, own, Demand(4)) == [NodeResources(cpus=2), NodeResources(cpus=1)]


def test_settling_takes_the_highest_at_once_and_others_after_a_while():
    settling = Settling()
    assert settling.settled(4, highest=4, now_s=0.0)
    assert not settling.settled(2, highest=4, now_s=10.0)
    assert not settling.settled(3, highest=4, now_s=12.9)
    assert not settling.settled(3, highest=4, now_s=15.8)
    assert settling.settled(3, highest=4, now_s=15.9)


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self):
        self.now_s = 0.0

    def sleep(self, seconds):
        self.now_s += seconds

    def waited(self, free_after_s):
        """What is said while waiting for two CPUs that are free after a while."""
        said = []

        def free():
            return {"n": NodeResources(cpus=2 if self.now_s >= free_after_s else 1)}

        wait_for_room(PAIR, free, say=said.append, clock=lambda: self.now_s, sleep=self.sleep)
        return said


def test_wait_for_room_says_nothing_of_a_moment_and_one_sentence_of_more():
    assert Clock().waited(0) == []
    assert Clock().waited(2) == []
    assert Clock().waited(60) == [
        "waiting: train.workers asks for 2 workers of 1 CPU, and only 1 fits beside what else runs "
        "on the cluster"
    ]


def test_wait_for_room_ends_with_an_error():
    with pytest.raises(ResourceError, match=r"only 1 fits .* even after 900 s; stop other work"):
        Clock().waited(ROOM_TIMEOUT_S + 1)
