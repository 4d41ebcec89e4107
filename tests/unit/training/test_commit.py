"""Checkpoints that several ranks write together, over a real ring, without TensorFlow."""

import numpy as np
import pytest
from tests.checkpoints import commit, manifest, tensors_of
from tests.rings import with_ring

from shardline.artifacts.checkpoint import (
    MARKER_NAME,
    find_checkpoint,
    list_checkpoints,
    read_tensors,
)
from shardline.artifacts.leases import CLOCK_SKEW_S
from shardline.errors import (
    IntegrityError,
    NotFiniteError,
    StoreUnavailableError,
    TrainingError,
)
from shardline.store import open_store
from shardline.training.checkpoints.resume import restore_newest
from shardline.training.exchange.peers import Alone


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}")


def assert_holds(found, step):
    expected = tensors_of(step)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_shares_of_any_number_of_ranks_are_one_checkpoint(store, world_size):
    commit(store, step=5, world_size=world_size)
    found = find_checkpoint(store, "r")
    assert len(found.files) == min(world_size, len(tensors_of(5)))
    assert_holds(read_tensors(store, found), 5)
    assert find_checkpoint(store, "r").digest == found.digest


def test_attempts_of_different_sizes_at_one_step_never_mix(store):
    commit(store, step=5, world_size=2)
    first = find_checkpoint(store, "r")
    commit(store, step=5, world_size=3)
    assert find_checkpoint(store, "r") == first
    assert_holds(read_tensors(store, first), 5)


def test_attempt_that_died_before_its_marker_leaves_room_for_one_of_another_size(store):
    commit(store, step=5, world_size=2)
    store.delete(f"{manifest(5).key}/{MARKER_NAME}")
    commit(store, step=5, world_size=3)
    found = find_checkpoint(store, "r")
    assert len(found.files) == 3
    assert_holds(read_tensors(store, found), 5)


def test_every_share_is_verified(store):
    commit(store, step=5, world_size=2)
    found = find_checkpoint(store, "r")
    store.write(found.file_keys[1], b"torn")
    with pytest.raises(IntegrityError, match="is damaged"):
        read_tensors(store, found)


def test_share_that_fails_on_one_rank_fails_on_all_and_commits_nothing(store):
    commit(store, step=3, world_size=2)

    bad = dict(tensors_of(5))
    bad["optimizer/00001/m"] = bad["optimizer/00001/m"].copy()
    bad["optimizer/00001/m"].flat[7] = np.nan

    def body(ring):
        with pytest.raises(NotFiniteError) as raised:
            commit(store, step=5, exchange=ring, tensors=bad)
        return str(raised.value)

    first, second = with_ring(2, body)
    assert first == second
    assert "variable 'optimizer/00001/m' holds an infinity or NaN after step 5" in first
    assert [c.step for c in list_checkpoints(store, "r")] == [3]


def test_marker_that_rank_0_cannot_write_fails_on_all(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shardline.training.checkpoints.commit.commit_checkpoint", full)

    def body(ring):
        with pytest.raises(TrainingError, match=r"rank 0: .*No space left"):
            commit(store, step=5, exchange=ring)

    with_ring(2, body)
    assert list_checkpoints(store, "r") == []


def test_infinite_metric_states_are_kept(store):
    tensors = tensors_of(5) | {"metrics/00000": np.array([np.inf], "float32")}
    commit(store, step=5, tensors=tensors)
    assert np.isinf(read_tensors(store, find_checkpoint(store, "r"))["metrics/00000"]).all()


def test_restore_damage_seen_by_any_rank_moves_all_to_the_one_before(store, caplog):
    commit(store, step=3, world_size=2)
    commit(store, step=5, world_size=2)
    store.write(find_checkpoint(store, "r").file_keys[0], b"torn")
    restored = with_ring(3, lambda ring: restore_newest(store, "r", ring))
    for each in restored:
        assert each.checkpoint.step == 3
        assert_holds(each.tensors, 3)
    assert "falling back to an earlier checkpoint" in caplog.text
    assert [c.step for c in list_checkpoints(store, "r")] == [3]


@pytest.fixture
def overtaken(store, monkeypatch):
    """A group that was given up on still runs: while step 3 is read it commits the next one."""
    commit(store, step=3)
    reads = iter([True])

    def read(store, checkpoint):
        if next(reads, False):
            commit(store, step=5, keep=1)
        return read_tensors(store, checkpoint)

    monkeypatch.setattr("shardline.training.checkpoints.resume.read_tensors", read)


def test_restore_reads_what_another_groups_retention_would_remove(store, overtaken):
    restored = restore_newest(store, "r", Alone())
    assert restored.checkpoint.step == 3
    assert_holds(restored.tensors, 3)
    assert [c.step for c in list_checkpoints(store, "r")] == [3, 5]
    commit(store, step=7, keep=1)
    assert [c.step for c in list_checkpoints(store, "r")] == [7]


def test_restore_whose_lease_has_run_out_takes_the_next_one(store, overtaken, monkeypatch):
    monkeypatch.setattr("shardline.artifacts.leases.LEASE_S", -CLOCK_SKEW_S - 1)
    restored = restore_newest(store, "r", Alone())
    assert restored.checkpoint.step == 5
    assert_holds(restored.tensors, 5)


def test_restore_without_checkpoints_finds_none(store):
    assert restore_newest(store, "r", Alone()) is None


def test_retention_removes_broken_off_commits_that_nobody_will_complete(store, tmp_path):
    broken = []
    for step in (2, 4, 6, 8):
        commit(store, step)
        broken.append(f"{manifest(step + 1).key}/tensors-0123456789abcdef.safetensors")
        store.write(broken[-1], b"half")
    (tmp_path / manifest(3).key / ".partial-1-ab").write_bytes(b"left by a killed process")
    commit(store, 10, keep=2)
    assert [c.step for c in list_checkpoints(store, "r")] == [8, 10]
    left = {path.parent.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left - {".shardline"} == {"step-00000008", "step-00000009", "step-00000010"}


def test_retention_of_a_store_that_fails_waits_for_the_next_commit(store, monkeypatch, caplog):
    commit(store, 2)

    def down(*_, **__):
        raise StoreUnavailableError("s3://bucket/root answered 503; run it again.")

    with monkeypatch.context() as patched:
        patched.setattr("shardline.training.checkpoints.commit.delete_checkpoints", down)
        commit(store, 4, keep=1)
    assert "old checkpoints could not be removed: s3://bucket/root answered 503" in caplog.text
    assert [c.step for c in list_checkpoints(store, "r")] == [2, 4]
    commit(store, 6, keep=1)
    assert [c.step for c in list_checkpoints(store, "r")] == [6]
