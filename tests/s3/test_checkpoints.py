"""Checkpoints on Ceph, which dies after any request of a commit: there is the old or the new one.

Every other cut and the kills are in tests/cuts, on moto and in a folder.
"""

import pytest
from tests.checkpoints import assert_whole, commit
from tests.fault_proxy import FaultProxy, calm, dies_after

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.errors import TrainingError
from shardline.store import Store, retrying

WORLD_SIZE = 2


@pytest.fixture
def proxy(rgw, leading_to, monkeypatch):
    leading_to(rgw)
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 1)
    with FaultProxy(rgw.endpoint).running() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def test_gateway_that_dies_after_any_request_leaves_the_old_or_the_new_checkpoint(rgw, proxy):
    """Two ranks write, rank 0 commits and removes what is superseded.

    A last answer that is lost leaves the store as the next request does that never arrives.
    """
    store = Store(f"s3://{rgw.bucket}/checkpoints")
    commit(store, 1, keep=1)
    proxy.follow(calm)
    commit(store, 2, world_size=WORLD_SIZE, keep=1)
    num_requests = len(proxy.requests)
    assert num_requests > 10
    ends = set()
    for step, count in enumerate(range(num_requests + 1), start=3):
        proxy.follow(dies_after(count, answering_last=bool(count % 2)))
        try:
            commit(store, step, world_size=WORLD_SIZE, keep=1)
        except TrainingError:
            ends.add("failed")
            assert proxy.fired
        else:
            ends.add("committed")
        proxy.follow(calm)
        assert_whole(store, step - 1, step)
        commit(store, step, world_size=WORLD_SIZE, keep=1)  # the same command continues
        assert [found.step for found in list_checkpoints(store, "r")] == [step]
    assert ends == {"failed", "committed"}
