"""Readers and removers of one checkpoint, in every order in which their requests can come."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from tests.checkpoints import commit, manifest, tensors_of
from tests.interleavings import Killed, explored, memory_store, random_orders

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
SOME_ORDERS = partial(random_orders, count=100, seed=5)
"""Of those that are too many to see all."""
LEAST_ORDERS = 10
"""That differ: those of operations that do not meet count once."""
MOST_OPERATIONS = 40
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


@pytest.fixture
def shared(monkeypatch):
    """A store in memory and its objects."""
    return memory_store(monkeypatch)


def removal(store):
    return remove_folder(store, FOLDER, now_unix_s=NOW_S)


def test_reader_and_remover_in_every_order_all_is_read_or_nothing(shared):
    store, memory = shared
    commit(store, 5)
    ends, orders = set(), 0
    processes = {"read": partial(read_held, store), "remove": partial(removal, store)}
    for done in explored(memory, processes):
        read, removed = done.results["read"], done.results["remove"]
        if isinstance(read, Exception):
            assert type(read) is NotFoundError, done.steps
        else:
            whole(read)
        assert not is_leased(store, FOLDER, now_unix_s=NOW_S), done.steps
        ends.add((type(read), removed, read_checkpoint(store, FOLDER) is not None))
        assert_gone(store)
        orders += 1
    assert orders >= LEAST_ORDERS
    assert ends >= {
        (dict, False, True),  # seen before anything was removed: all stays
        (dict, False, False),  # seen after the marker went: the files stay
        (dict, True, False),  # read and given back in time
        (NotFoundError, True, False),
    }


@pytest.mark.parametrize("mistake", ["lease after the marker", "no look after the marker"])
def test_other_protocols_lose_files_in_some_order(shared, mistake):
    """That the orders are seen at all: what is wrong fails."""
    store, memory = shared
    commit(store, 5)
    found = find_checkpoint(store, "r")

    def read_first():
        found = read_checkpoint(store, FOLDER)
        if found is None:
            return None
        with leased(store, FOLDER, reader="test", clock=now):
            return read_tensors(store, found)

    def read():
        with reading(store, found, reader="test", clock=now):
            return read_tensors(store, found)

    def remove_at_once():
        if not is_leased(store, FOLDER, now_unix_s=NOW_S):
            store.delete(f"{FOLDER}/{MARKER_NAME}")
            store.delete_folder(FOLDER)

    if mistake == "lease after the marker":
        processes = {"read": read_first, "remove": partial(removal, store)}
    else:
        processes = {"read": read, "remove": remove_at_once}
    results = [done.results["read"] for done in explored(memory, processes)]
    assert any(isinstance(end, NotFoundError) and "tensors-" in str(end) for end in results)


@pytest.mark.parametrize("mortal", ["read", "remove"])
def test_death_of_reader_or_remover_at_any_point_mixes_nothing(shared, mortal):
    """What the dead one leaves is in nobody's way once its lease has run out."""
    store, memory = shared
    commit(store, 5)
    start = dict(memory.objects)
    processes = {"read": partial(read_held, store), "remove": partial(removal, store)}
    for life in range(MOST_OPERATIONS):
        memory.objects, deaths = dict(start), 0
        for done in explored(memory, processes, lives={mortal: life}):
            read = done.results["read"]
            deaths += isinstance(done.results[mortal], Killed)
            assert isinstance(read, NotFoundError | Killed) or whole(read), done.steps
            late = NOW_S + LEASE_S + CLOCK_SKEW_S + 1
            assert remove_folder(store, FOLDER, now_unix_s=late), done.steps
            assert list(store.scan("runs/")) == [], done.steps
        if not deaths:
            break
    assert not deaths
    assert life > 4


def test_reader_that_chooses_anew_always_finds_one_while_old_ones_go(shared):
    """A run commits and its retention removes; who reads the newest gets one of them, whole."""
    store, memory = shared
    commit(store, 5)

    def read():
        def newest():
            return list_checkpoints(store, "r")[-1]

        with chosen(store, newest, reader="test") as checkpoint:
            return checkpoint.step, read_tensors(store, checkpoint)

    processes = {"read": read, "train": lambda: commit(store, 7, keep=1)}
    for done in explored(memory, processes, orders=SOME_ORDERS):
        step, tensors = done.results["read"]
        assert step in (5, 7)
        whole(tensors, step)


def test_two_readers_and_two_removers_in_many_orders_never_read_half(shared):
    store, memory = shared
    commit(store, 5)
    readers = {f"read {number}": partial(read_held, store) for number in range(2)}
    removers = {f"remove {number}": partial(removal, store) for number in range(2)}
    for done in explored(memory, readers | removers, orders=SOME_ORDERS):
        for name in readers:
            result = done.results[name]
            assert type(result) is NotFoundError or whole(result), done.steps
        assert_gone(store)


def test_commit_and_reader_in_every_order_all_is_read_or_nothing(shared):
    store, memory = shared
    ends = set()
    processes = {"read": partial(read_held, store), "train": lambda: commit(store, 5)}
    for done in explored(memory, processes):
        read = done.results["read"]
        assert type(read) is NotFoundError or whole(read), done.steps
        ends.add(type(read))
        whole(read_held(store))
    assert ends == {dict, NotFoundError}


def test_two_commands_that_find_damage_and_commit_again_leave_one_whole(shared):
    """Both remove what is damaged, in any order with the other's commit of the same step."""
    store, memory = shared
    commit(store, 3)
    commit(store, 5)
    store.write(find_checkpoint(store, "r").file_keys[0], b"torn")

    def resume():
        newest_intact(store, list_checkpoints(store, "r"), clock=now)
        commit(store, 5)
        return restore_newest(store, "r", Alone())

    for done in explored(memory, {"one": resume, "other": resume}, orders=SOME_ORDERS):
        for result in done.results.values():
            assert not isinstance(result, BaseException), result
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
