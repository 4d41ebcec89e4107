"""A run goes on with another number of workers, one that does not divide its lanes among them."""

import numpy as np
import pytest
from tests.models.architectures import EPOCHS, STEPS_PER_EPOCH, write_all
from tests.models.ranks import Training

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.artifacts.checkpoint_removal import delete_checkpoints
from shardline.store import Store

NAME = "mlp, several steps per execution"
LANES = 4
TRAIN = {
    "lanes": LANES,
    "workers": {"min": 1, "max": LANES},
    "checkpoint": {"every_steps": 4, "keep": 100},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(f"file://{tmp_path_factory.mktemp('elsewhere')}/store")
    write_all(store)
    return store


def assert_same_end(ours, theirs):
    for entry, other in zip(ours.history, theirs.history, strict=True):
        assert entry.keys() == other.keys()
        np.testing.assert_allclose([*entry.values()], [*other.values()], rtol=1e-5)
    assert ours.weights.keys() == theirs.weights.keys()
    for path, value in ours.weights.items():
        np.testing.assert_allclose(value, theirs.weights[path], atol=1e-4, err_msg=path)


def test_run_continued_on_other_numbers_of_workers_ends_the_same(ranks, store):
    (expected, *_) = ranks.train(Training(NAME, store.uri, "calm", TRAIN), world_size=2)
    hit = Training(NAME, store.uri, "hit", TRAIN)
    ranks.train(hit, world_size=4)
    for world_size, cut in ((1, 4), (2, 16), (3, 20)):
        delete_checkpoints(store, [c for c in list_checkpoints(store, "hit") if c.step > cut])
        seen = ranks.train(hit, world_size=world_size)
        assert not any(rank.refusal for rank in seen)
        assert [len(rank.rows) for rank in seen] == [EPOCHS * STEPS_PER_EPOCH - cut] * world_size
        assert_same_end(seen[0], expected)


def test_three_workers_of_four_lanes_give_the_result_of_one(ranks, store):
    (alone,) = ranks.train(Training(NAME, store.uri, "alone", TRAIN), world_size=1)
    three = ranks.train(Training(NAME, store.uri, "three", TRAIN), world_size=3)
    assert [len(rank.rows[0]) for rank in three] == [8, 8, 16]
    for seen in three:
        assert_same_end(seen, alone)
    losses = np.average([rank.losses for rank in three], axis=0, weights=[1, 1, 2])
    np.testing.assert_allclose(losses, alone.losses, rtol=1e-5)
