"""Readers and removers of one checkpoint, in every order in which their requests can come."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.checkpoints import commit, manifest, tensors_of
from tests.interleavings import Interleaved, in_every_order, random_choices

from shardline.artifacts.checkpoint import (
    MARKER_NAME,
    find_checkpoint,
    list_checkpoints,
    read_checkpoint,
    read_tensors,
)
from shardline.artifacts.checkpoint_reading import chosen, newest_intact, reading
from shardline.artifacts.checkpoint_removal import (
    delete_checkpoints,
    remove_folder,
    unmark_and_remove,
)
from shardline.artifacts.leases import (
    CLOCK_SKEW_S,
    LEASE_S,
    Lease,
    holds,
    is_leased,
    leased,
    readers_prefix,
)
from shardline.errors import IntegrityError, NotFoundError, StoreUnavailableError
from shardline.store import Store, open_store, read_marker
from shardline.training.checkpoints.resume import restore_newest
from shardline.training.exchange.peers import Alone

NOW_S = 1_000_000.0
NUM_ORDERS = 100
"""Of those that are too many to see all."""
FOLDER = manifest(5).key
SMALL = {"model/00000/w": np.float32(5)}


def now():
    return NOW_S


def read_held(store):
    """What every reader does."""
    found = find_checkpoint(store, "r")
    with reading(store, found, reader="test", clock=now):
        return read_tensors(store, found)


def whole(found, step=5):
    expected = tensors_of(step)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    return True


def assert_gone(store):
    """What a pass left because it was read, the next one removes."""
    remove_folder(store, FOLDER, now_unix_s=NOW_S)
    assert list(store.scan("runs/")) == []


def test_reader_and_remover_in_every_order_all_is_read_or_nothing(monkeypatch):
    ends = set()

    def run(choices):
        interleaved = Interleaved(monkeypatch, choices)
        store = interleaved.store
        commit(store, 5)
        read, removed = interleaved.run(
            lambda: read_held(store), lambda: remove_folder(store, FOLDER, now_unix_s=NOW_S)
        )
        if isinstance(read, Exception):
            assert type(read) is NotFoundError
        else:
            whole(read)
        assert not is_leased(store, FOLDER, now_unix_s=NOW_S)
        ends.add((type(read), removed, read_checkpoint(store, FOLDER) is not None))
        assert_gone(store)
        return interleaved.taken

    assert in_every_order(run, limit=3000) >= 100
    assert ends >= {
        (dict, False, True),  # seen before anything was removed: all stays
        (dict, False, False),  # seen after the marker went: the files stay
        (dict, True, False),  # read and given back in time
        (NotFoundError, True, False),
    }


@pytest.mark.parametrize("mistake", ["lease after the marker", "no look after the marker"])
def test_other_protocols_lose_files_in_some_order(monkeypatch, mistake):
    """That the orders are seen at all: what is wrong fails."""
    lost = []

    def read_first(store):
        found = read_checkpoint(store, FOLDER)
        if found is None:
            return None
        with leased(store, FOLDER, reader="test", clock=now):
            return read_tensors(store, found)

    def remove_at_once(store):
        if not is_leased(store, FOLDER, now_unix_s=NOW_S):
            store.delete(f"{FOLDER}/{MARKER_NAME}")
            store.delete_folder(FOLDER)

    def run(choices):
        interleaved = Interleaved(monkeypatch, choices)
        store = interleaved.store
        commit(store, 5)
        late = mistake == "lease after the marker"
        found = find_checkpoint(store, "r")

        def read():
            if late:
                return read_first(store)
            with reading(store, found, reader="test", clock=now):
                return read_tensors(store, found)

        def remove():
            if late:
                return remove_folder(store, FOLDER, now_unix_s=NOW_S)
            return remove_at_once(store)

        result, _ = interleaved.run(read, remove)
        lost.append(isinstance(result, NotFoundError) and "tensors-" in str(result))
        return interleaved.taken

    in_every_order(run, limit=3000)
    assert any(lost)


def test_reader_that_chooses_anew_always_finds_one_while_old_ones_go(monkeypatch):
    """A run commits and its retention removes; who reads the newest gets one of them, whole."""

    def run(choices):
        interleaved = Interleaved(monkeypatch, choices)
        store = interleaved.store
        commit(store, 5)

        def read():
            def newest():
                return list_checkpoints(store, "r")[-1]

            with chosen(store, newest, reader="test") as checkpoint:
                return checkpoint.step, read_tensors(store, checkpoint)

        result, _ = interleaved.run(read, lambda: commit(store, 7, keep=1))
        assert not isinstance(result, Exception), result
        assert result[0] in (5, 7)
        whole(result[1], result[0])
        return interleaved.taken

    for seed in range(NUM_ORDERS):
        run(random_choices(seed))


def test_two_readers_and_two_removers_in_many_orders_never_read_half(monkeypatch):
    for seed in range(NUM_ORDERS):
        interleaved = Interleaved(monkeypatch, random_choices(seed))
        store = interleaved.store
        commit(store, 5)
        *read, _, _ = interleaved.run(
            *[lambda store=store: read_held(store)] * 2,
            *[lambda store=store: remove_folder(store, FOLDER, now_unix_s=NOW_S)] * 2,
        )
        for result in read:
            assert type(result) is NotFoundError or whole(result)
        assert_gone(store)


def test_commit_and_reader_in_every_order_all_is_read_or_nothing(monkeypatch):
    ends = set()

    def run(choices):
        interleaved = Interleaved(monkeypatch, choices)
        store = interleaved.store
        read, _ = interleaved.run(lambda: read_held(store), lambda: commit(store, 5))
        assert type(read) is NotFoundError or whole(read)
        ends.add(type(read))
        whole(read_held(store))
        return interleaved.taken

    in_every_order(run, limit=3000)
    assert ends == {dict, NotFoundError}


def test_two_commands_that_find_damage_and_commit_again_leave_one_whole(monkeypatch):
    """Both remove what is damaged, in any order with the other's commit of the same step."""
    for seed in range(NUM_ORDERS):
        interleaved = Interleaved(monkeypatch, random_choices(seed))
        store = interleaved.store
        commit(store, 3)
        commit(store, 5)
        store.write(find_checkpoint(store, "r").file_keys[0], b"torn")

        def resume(store=store):
            newest_intact(store, list_checkpoints(store, "r"), clock=now)
            commit(store, 5)
            return restore_newest(store, "r", Alone())

        for result in interleaved.run(resume, resume):
            assert not isinstance(result, Exception), result
            assert whole(result.tensors, result.checkpoint.step)
        restored = restore_newest(store, "r", Alone())
        assert whole(restored.tensors, restored.checkpoint.step)


# The parts


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}/store")


def test_lease_is_a_file_that_a_person_can_read_and_ends_by_itself(store):
    with leased(store, FOLDER, reader="evaluate", clock=now):
        (entry,) = store.scan(readers_prefix(FOLDER))
        lease = read_marker(store, entry.key, Lease)
        assert (lease.reader, lease.expires_unix_s) == ("evaluate", NOW_S + LEASE_S)
        end = NOW_S + LEASE_S + CLOCK_SKEW_S
        assert is_leased(store, FOLDER, now_unix_s=end - 1)
        assert not is_leased(store, FOLDER, now_unix_s=end)
    assert not is_leased(store, FOLDER, now_unix_s=NOW_S)


@pytest.mark.parametrize("name", ["notes.txt", "x-1.json", "-1.json", "17.json"])
def test_what_is_not_named_like_a_lease_holds_nothing(name):
    assert not holds(f"{readers_prefix(FOLDER)}{name}", now_unix_s=0.0)


def test_lease_of_a_reader_that_takes_long_is_renewed_and_given_back(store):
    now = iter(range(0, 10_000_000, 1000))
    seen = set()
    deadline = time.monotonic() + 30
    with leased(store, "runs/r", reader="export", clock=lambda: next(now), renewed_after_s=0.01):
        while len(seen) < 3:
            held = {entry.key for entry in store.scan("runs/r/readers/")}
            assert held
            seen |= held
            assert time.monotonic() < deadline
    assert list(store.scan("runs/r/")) == []


def test_lease_that_cannot_be_given_back_does_not_lose_what_was_read(store, monkeypatch, caplog):
    commit(store, 5)

    def down(*_):
        raise StoreUnavailableError("s3://bucket/root answered 503; run it again.")

    monkeypatch.setattr(Store, "delete", down)
    whole(read_held(store))
    assert "a lease could not be given back: s3://bucket/root answered 503" in caplog.text


def test_delete_spares_the_marker_of_what_is_read(store):
    commit(store, 5)
    found = find_checkpoint(store, "r")
    with reading(store, found, reader="test"):
        delete_checkpoints(store, [found])
        assert find_checkpoint(store, "r") == found
        assert not unmark_and_remove(store, FOLDER, now_unix_s=NOW_S)
        assert list_checkpoints(store, "r") == []
        whole(read_tensors(store, found))
    gone = pytest.raises(NotFoundError, match=r"step-00000005 was removed before it could be read")
    with gone, reading(store, found, reader="test"):
        pytest.fail("it is gone")


def test_readers_and_removers_of_a_folder_get_all_or_nothing(tmp_path):
    """Real files: folders go when they are empty, while leases are written into them."""
    store = open_store(f"file://{tmp_path}/store")

    def read():
        try:
            return [whole(read_held(store)) for _ in range(10)]
        except NotFoundError:
            return []

    def remove():
        remove_folder(store, FOLDER, now_unix_s=NOW_S)

    for _ in range(10):
        commit(store, 5)
        with ThreadPoolExecutor(6) as pool:
            ends = [pool.submit(work) for work in (read, read, remove, read, remove, read)]
        for end in ends:
            end.result()


def test_damaged_checkpoint_is_never_confused_with_one_committed_in_its_place(store):
    commit(store, 5)
    damaged = find_checkpoint(store, "r")
    store.write(damaged.file_keys[0], b"torn")
    with pytest.raises(IntegrityError):
        read_tensors(store, damaged)
    unmark_and_remove(store, FOLDER, now_unix_s=NOW_S)
    commit(store, 5, tensors=SMALL)
    assert newest_intact(store, [damaged]) is None
    assert read_tensors(store, find_checkpoint(store, "r")).keys() == SMALL.keys()
