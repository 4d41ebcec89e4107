"""What one rank refuses, all refuse."""

import pytest
from tests.rings import with_ring

from shardline.errors import DataError, ModelError
from shardline.training.replicas.agreement import agreed


def test_agreed_part_that_all_ranks_can_do_gives_each_its_own_result():
    assert with_ring(3, lambda ring: agreed(ring, lambda: ring.rank)) == [0, 1, 2]


def test_agreed_part_that_one_rank_refuses_is_refused_by_all_in_its_words():
    def part(rank):
        if rank == 1:
            raise DataError("shard 7 is gone.")
        return rank

    def body(ring):
        with pytest.raises((DataError, ModelError)) as refusal:
            agreed(ring, lambda: part(ring.rank))
        return type(refusal.value), refusal.value.message

    assert with_ring(3, body) == [
        (ModelError, "rank 1: shard 7 is gone."),
        (DataError, "shard 7 is gone."),
        (ModelError, "rank 1: shard 7 is gone."),
    ]
