"""Checkpoints of a few small arrays, committed as workers do it, without TensorFlow."""

import numpy as np
from tests.rings import with_ring

from shardline.artifacts.checkpoint import CheckpointManifest, Cursor
from shardline.artifacts.shares import share_of
from shardline.artifacts.tensor_file import TensorFile
from shardline.spec.train import CheckpointSpec
from shardline.training.checkpoints.commit import commit_together, retain
from shardline.training.checkpoints.resume import restore_newest
from shardline.training.exchange.peers import Alone


def manifest(step, **changes):
    """What is committed at a step."""
    fields = {
        "run": "r",
        "step": step,
        "cursor": Cursor(epoch=0, step=step),
        "world_size": 1,
        "spec_digest": "s",
        "dataset": "d",
        "dataset_version": "v",
        "history": (),
    }
    return CheckpointManifest(**(fields | changes))


def tensors_of(step):
    """State after a step; every number in it tells the step."""
    return {
        "model/00000/kernel": np.full((40, 30), step, "float32"),
        "model/00001/bias": np.full(30, step, "float32"),
        "optimizer/00000/iteration": np.int64(step),
        "optimizer/00001/m": np.full((40, 30), 2 * step, "float32"),
    }


def commit(store, step, *, world_size=1, exchange=None, tensors=None, keep=None, **changes):
    """Commit as that many ranks, or as one rank of an exchange that is there."""
    if world_size > 1:
        with_ring(world_size, lambda ring: commit(store, step, exchange=ring, keep=keep, **changes))
        return
    exchange = exchange or Alone()
    tensors = tensors_of(step) if tensors is None else tensors
    sizes = {name: array.nbytes for name, array in tensors.items()}
    mine = share_of(sizes, rank=exchange.rank, world_size=exchange.world_size)
    share = TensorFile()
    share.fill({name: tensors[name] for name in mine})
    changes = {"world_size": exchange.world_size} | changes
    commit_together(store, manifest(step, **changes), share, exchange)
    if keep is not None and exchange.rank == 0:
        retain(store, manifest(step, **changes).run, CheckpointSpec(keep=keep))


def assert_whole(store, *steps):
    """Readers find one of these steps, all of it, and nothing else."""
    restored = restore_newest(store, "r", Alone())
    assert restored.checkpoint.step in steps
    expected = tensors_of(restored.checkpoint.step)
    assert restored.tensors.keys() == expected.keys()
    for name, array in restored.tensors.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    return restored.checkpoint.step
