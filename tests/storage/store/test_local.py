"""A folder as a store: what kills, deletions and odd keys do to it."""

import errno
import fcntl
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from shardline.errors import IntegrityError, StoreError, StoreUnavailableError
from shardline.store import PARTIAL_PREFIX, Store, local
from shardline.store.leftovers import stored_objects

KILLS = 25


def write_for_ever(uri):
    """Claims, swaps and streams, each of one byte throughout."""
    store = Store(uri)
    for number in range(1_000_000):
        content = bytes([number % 256]) * 200_000
        store.put_if_absent(f"claims/{number % 7}", content)
        data, version = store.read_versioned("pointers/p")
        store.compare_and_swap("pointers/p", b"%d" % (int(data) + 1), version=version)
        with store.writing(f"streams/{number % 5}") as sink:
            for _ in range(4):
                sink.write(content[:50_000])
        store.delete(f"claims/{(number + 3) % 7}")


def test_kill_at_random_moments_leaves_whole_objects_and_no_lock(tmp_path):
    store = Store(f"file://{tmp_path}/store")
    store.write("pointers/p", b"0")
    draw = random.Random(time.time_ns())
    context = multiprocessing.get_context("fork")
    partials = 0
    for _ in range(KILLS):
        before = int(store.read("pointers/p"))
        process = context.Process(target=write_for_ever, args=(store.uri,))
        process.start()
        deadline = time.monotonic() + 30
        while int(store.read("pointers/p")) < before + 2:
            assert time.monotonic() < deadline
        time.sleep(draw.uniform(0, 0.02))  # somewhere in the midst of it
        process.kill()
        process.join()
        for entry in store.scan(""):
            data = store.read(entry.key)
            whole = entry.key == "pointers/p" or (len(data) == 200_000 and len(set(data)) == 1)
            assert whole, entry.key
        partials = max(partials, len([*tmp_path.rglob(f"{PARTIAL_PREFIX}*")]))
        data, version = store.read_versioned("pointers/p")
        assert store.compare_and_swap("pointers/p", data, version=version), "the lock is free"
    assert partials, "some kill hit a write"
    for folder in ("claims", "pointers", "streams"):
        store.delete_folder(folder)
    assert not list(tmp_path.rglob(f"{PARTIAL_PREFIX}*"))


@pytest.mark.parametrize("key", ["../beside", "a/../../beside", "/etc/passwd", "a\0b"])
def test_key_that_leads_out_of_the_folder_is_refused(tmp_path, key):
    store = Store(f"file://{tmp_path}/store")
    (tmp_path / "beside").write_text("")
    for act in (
        store.read,
        store.delete,
        lambda key: store.write(key, b""),
        lambda key: store.put_if_absent(key, b""),
        lambda key: store.read_range(key, 0, 1),
    ):
        with pytest.raises(StoreError, match=r"is no key of .*store: it leads out of the folder"):
            act(key)
    assert (tmp_path / "beside").exists()


def test_lock_that_is_held_for_ever_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "LOCK_TIMEOUT_S", 0.05)
    store = Store(f"file://{tmp_path}/store")
    store.write("pointers/p", b"1")
    data, version = store.read_versioned("pointers/p")
    assert store.compare_and_swap("pointers/p", data, version=version)
    (lock,) = (tmp_path / "store" / ".shardline").iterdir()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailableError, match=r"another process has held the lock of .*"):
            store.compare_and_swap("pointers/p", b"2", version=version)
    assert store.read("pointers/p") == b"1"
    assert [entry.key for entry in store.scan("")] == ["pointers/p"], "a lock is no object"


def test_name_is_on_disk_before_a_write_returns(tmp_path, monkeypatch):
    """The file, then the folder that names it, then the folders that were made."""
    synced = []
    honest = os.fsync

    def noting(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append(str(path).replace(str(tmp_path), ""))
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    Store(f"file://{tmp_path}/store").put_if_absent("a/b/key", b"1")
    assert synced[0].startswith(f"/store/a/b/{PARTIAL_PREFIX}")
    assert synced[1:] == ["/store/a/b", "/store/a", "/store", ""]
    synced.clear()
    Store(f"file://{tmp_path}/store").write("a/b/other", b"1")
    assert synced[1:] == ["/store/a/b"]


def test_folder_deleted_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    store = Store(f"file://{tmp_path}")
    made = []

    def mkdir(path, *arguments):
        made.append(path)
        if len(made) == 1:  # it was there, and is gone when one looks what it was
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        original(path, *arguments)

    original = os.mkdir
    monkeypatch.setattr(os, "mkdir", mkdir)
    store.write("folder/key", b"x")
    assert store.read("folder/key") == b"x"
    assert len(made) > 1


def test_file_in_the_way_of_a_folder_is_a_sentence(tmp_path):
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot write .*/folder/key: (File exists|Not a dir)"):
        Store(f"file://{tmp_path}").write("folder/key", b"x")


def test_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    honest = os.fsync

    def picky(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", picky)
    store = Store(f"file://{tmp_path}/store")
    store.write("k", b"1")
    assert store.read("k") == b"1"


def test_folder_that_cannot_be_listed_is_no_empty_one(tmp_path, monkeypatch):
    store = Store(f"file://{tmp_path}/store")
    store.write("runs/mine/run.json", b"{}")
    listed = os.scandir

    def refusing(path):
        if str(path).endswith("runs/mine"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    for look in (store.scan, lambda prefix: stored_objects(store, prefix), store.list_folders):
        with pytest.raises(StoreError, match=r"runs/mine cannot be listed: Permission denied; let"):
            list(look("runs"))


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (errno.EIO, IntegrityError, r"a/b is damaged: Input/output error; look after its disk"),
        (errno.ESTALE, StoreUnavailableError, r"a/b cannot be read: Stale file handle; run the"),
    ],
)
def test_file_whose_disk_fails_is_a_typed_error(tmp_path, monkeypatch, number, kind, sentence):
    store = Store(f"file://{tmp_path}/store")
    store.write("a/b", b"content")

    class Failing:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, *_):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", lambda *_: Failing())
    with pytest.raises(kind, match=sentence):
        store.read("a/b")


def test_swaps_of_many_keys_leave_a_bounded_number_of_lock_files(tmp_path):
    store = Store(f"file://{tmp_path}/store")
    for number in range(400):
        key = f"pointers/{number}"
        store.write(key, b"0")
        assert store.compare_and_swap(key, b"1", version=store.read_versioned(key)[1])
    assert len(list((tmp_path / "store/.shardline").iterdir())) <= 256
