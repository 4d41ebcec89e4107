"""When workers stop waiting for each other."""

import threading
import time
from types import SimpleNamespace

import pytest
from tests.rings import with_ring

from shardline.errors import StalledError
from shardline.training.stopping.halting import StopTogether

STALL_S = 0.2


def first_step(stop):
    stop.on_epoch_begin(0)


def later_epoch(stop):
    stop.on_train_batch_end(0)
    stop.on_epoch_begin(1)


def validation(stop):
    stop.on_train_batch_end(0)
    stop.on_test_begin()


@pytest.mark.parametrize("come_to_wait", [first_step, later_epoch, validation])
def test_a_rank_is_waited_for_where_ranks_differ_and_then_only_for_the_stall_timeout(come_to_wait):
    noticed = threading.Event()

    def body(ring):
        record = SimpleNamespace(global_step=1, save_now=lambda: True)
        stop = StopTogether(ring, record, stop_epoch=1, stall_timeout_s=STALL_S)
        come_to_wait(stop)
        if ring.rank == 1:
            time.sleep(4 * STALL_S)  # being late is the subject: tracing takes this rank longer
        if come_to_wait is validation:
            stop.on_epoch_end(0)
        else:
            stop.on_train_batch_end(0)
        if ring.rank == 1:
            return noticed.wait(10)
        with pytest.raises(StalledError, match=f"rank 0 waited {STALL_S} s for rank 1"):
            ring.all_gather(b"")
        noticed.set()
        return True

    assert with_ring(2, body) == [True, True]
