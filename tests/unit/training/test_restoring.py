"""Which checkpoint training continues from, without TensorFlow."""

import math

import pytest
from tests.checkpoints import commit, tensors_of
from tests.rings import with_ring

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.errors import StoreError
from shardline.store import Store
from shardline.training.checkpoints.resume import restore_newest
from shardline.training.exchange.peers import Alone


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


def test_history_with_a_metric_that_is_not_a_number_is_continued(store):
    commit(store, 1, history=({"epoch": 0, "val_loss": math.nan, "auc": math.inf},))
    restored = restore_newest(store, "r", Alone())
    assert restored is not None
    (entry,) = restored.checkpoint.history
    assert math.isnan(entry["val_loss"])
    assert entry["auc"] == math.inf
    assert restored.tensors.keys() == tensors_of(1).keys()


def test_rank_whose_store_is_another_one_removes_nothing(store, tmp_path):
    commit(store, 1)
    commit(store, 2)
    empty = Store(f"file://{tmp_path}/other")

    def body(ring):
        with pytest.raises(StoreError, match=r"rank 1 cannot read a checkpoint that rank 0 can"):
            restore_newest(store if ring.rank == 0 else empty, "r", ring)
        return True

    assert all(with_ring(2, body))
    assert [checkpoint.step for checkpoint in list_checkpoints(store, "r")] == [1, 2]
