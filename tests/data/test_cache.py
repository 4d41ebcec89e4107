"""Rows on a machine's disk: shared, bounded, rebuilt when torn, and nobody's truth."""

import multiprocessing
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from tests.data.cached_rows import (
    COLUMNS,
    ROWS,
    assert_fed,
    dataset_in,
    fed,
    feed_of,
    train_spec,
)

from shardline.data import cache as cache_module
from shardline.data import cache_folder as folder_module
from shardline.data.cache import open_cache
from shardline.data.cache_folder import cache_root, make_room, open_entry
from shardline.data.packing import Layout
from shardline.errors import ResourceError
from shardline.spec.train import CacheSpec


@pytest.fixture
def dataset(tmp_path):
    return dataset_in(tmp_path)


def entry_of(folder):
    (entry,) = [path for path in (folder / "cache").iterdir() if not path.name.startswith(".")]
    return entry


def filled(dataset, folder, **options):
    """A feed that has seen an epoch of each form."""
    feed = feed_of(dataset, train_spec(folder, **options))
    fed(feed, 0, 0, 2)
    return feed


def delete_shards(dataset):
    store, manifest = dataset
    for shard in manifest.split("train").shards:
        store.delete(f"{manifest.folder}/{shard.key}")


def test_cache_once_filled_serves_both_forms_without_the_store(dataset, tmp_path):
    filled(dataset, tmp_path).groups.cache.close()
    delete_shards(dataset)
    assert_fed(feed_of(dataset, train_spec(tmp_path)))
    assert_fed(feed_of(dataset, train_spec(tmp_path, lanes=2, seed=5), share=(1, 2)))


def test_cache_is_filled_by_the_first_epoch_while_it_streams(dataset, tmp_path):
    feed = feed_of(dataset, train_spec(tmp_path, global_batch=4))
    fed(feed, 0, 0, 1)
    assert sum(feed.groups.cache.holds(group) for group in range(29)) >= 28


def test_cache_is_shared_by_the_workers_of_a_machine(dataset, tmp_path):
    train = train_spec(tmp_path, global_batch=4)
    first, second = (feed_of(dataset, train, share=(rank, 2)) for rank in (0, 1))
    fed(first, 0, 0, 2)
    fed(second, 0, 0, 2)
    delete_shards(dataset)
    assert_fed(feed_of(dataset, train))


PROCESSES = multiprocessing.get_context("forkserver")
"""A forked child of a process with threads may find a lock held for ever."""


def fill_share(dataset, folder, rank):
    """What a worker of two does in a process of its own; the two start as one."""
    feed = feed_of(dataset, train_spec(folder), share=(rank, 2))
    (folder / f"ready-{rank}").touch()
    deadline_s = time.monotonic() + 60
    while not (folder / f"ready-{1 - rank}").exists():
        assert time.monotonic() < deadline_s
    assert_fed(feed)


def test_cache_filled_by_two_processes_at_the_same_time_is_whole(dataset, tmp_path):
    with ProcessPoolExecutor(2, mp_context=PROCESSES) as pool:
        for done in [pool.submit(fill_share, dataset, tmp_path, rank) for rank in (0, 1)]:
            done.result()
    delete_shards(dataset)
    assert_fed(feed_of(dataset, train_spec(tmp_path)))


def make_room_for(name, folder):
    made(folder / "cache", name, max_bytes=1)


def test_cache_in_use_is_not_evicted_by_another_process(dataset, tmp_path):
    feed = filled(dataset, tmp_path)
    kept = entry_of(tmp_path)
    with ProcessPoolExecutor(1, mp_context=PROCESSES) as pool:
        pool.submit(make_room_for, "b", tmp_path).result()
        assert kept.is_dir()
        assert_fed(feed)
        feed.groups.cache.close()
        pool.submit(make_room_for, "c", tmp_path).result()
    assert not kept.exists()


def test_cache_of_other_rows_or_columns_is_another_entry(dataset, tmp_path):
    feed = feed_of(dataset, train_spec(tmp_path))
    other = dataset_in(tmp_path, rows_per_group=5, name="other")
    feed_of(other, train_spec(tmp_path))
    split = dataset[1].split("train")
    open_cache(train_spec(tmp_path).cache, split, Layout(COLUMNS[:2]))
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert_fed(feed)


def test_cache_makes_room_for_all_rows_whoever_of_the_workers_comes_first(tmp_path):
    size = 100_000
    folder = tmp_path / "cache"
    made(folder, "a", size=size).close()
    dataset = dataset_in(tmp_path)
    layout = Layout(COLUMNS)
    all_rows = layout.row_bytes * ROWS + sum(
        shard.table_bytes for shard in dataset[1].split("train").shards
    )
    feed_of(dataset, train_spec(tmp_path, max_bytes=size + all_rows - 1), share=(0, 4))
    assert "a" not in names(folder)


def test_cache_of_another_user_is_another_entry(dataset, tmp_path, monkeypatch):
    feed_of(dataset, train_spec(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    feed_of(dataset, train_spec(tmp_path))
    assert len(list((tmp_path / "cache").iterdir())) == 2


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def zero(file):
    size = file.stat().st_size
    os.truncate(file, 0)
    os.truncate(file, size)


@pytest.mark.parametrize("damage", [cut, flip, zero, os.unlink])
def test_cache_that_is_torn_is_rebuilt(dataset, tmp_path, damage):
    filled(dataset, tmp_path).groups.cache.close()
    files = sorted(path.name for path in entry_of(tmp_path).iterdir())
    assert files == [*(f"block-{n}" for n in range(6)), "lock", "marks", "texts"]
    for name in files:
        file = entry_of(tmp_path) / name
        if damage is os.unlink or file.stat().st_size:
            damage(file)
        feed = feed_of(dataset, train_spec(tmp_path))
        assert_fed(feed)
        feed.groups.cache.close()


def test_cache_rows_without_their_mark_do_not_count(dataset, tmp_path):
    feed = filled(dataset, tmp_path)
    feed.groups.cache.close()
    marks = entry_of(tmp_path) / "marks"
    marks.write_bytes(bytes(8) + marks.read_bytes()[8:])
    found = feed_of(dataset, train_spec(tmp_path)).groups.cache
    assert not found.holds(0)
    assert found.holds(1)


def test_cache_deleted_while_in_use_stays_with_its_users(dataset, tmp_path):
    feed = feed_of(dataset, train_spec(tmp_path))
    rows = feed.rows(0, 0, stop_epoch=3)
    next(rows)
    shutil.rmtree(tmp_path / "cache")
    for _ in rows:
        pass
    assert_fed(feed)
    assert_fed(feed_of(dataset, train_spec(tmp_path)))


def test_cache_folder_that_is_none_is_named(dataset, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(
        ResourceError, match=r"cannot keep rows in .*/cache: File exists; set train"
    ):
        feed_of(dataset, train_spec(tmp_path))


@pytest.fixture
def full_disk(monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "pwrite", full)


@pytest.mark.usefixtures("full_disk")
def test_cache_on_a_full_disk_is_named(dataset, tmp_path):
    feed = feed_of(dataset, train_spec(tmp_path))
    with pytest.raises(ResourceError, match=r"/cache: No space left on device; set train\.cache"):
        fed(feed)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("options", [{"order": "window"}, {"epochs": 1}])
def test_cache_on_a_full_disk_that_no_epoch_needs_is_given_up(dataset, tmp_path, options, caplog):
    feed = feed_of(dataset, train_spec(tmp_path, **options))
    assert_fed(feed, 0, 0, min(3, feed.order.window.epochs))
    assert caplog.text.count("No space left on device; set train.cache.dir") == 1


def test_cache_that_cannot_be_made_and_that_no_epoch_needs_is_given_up(dataset, tmp_path, caplog):
    (tmp_path / "cache").write_text("")
    assert_fed(feed_of(dataset, train_spec(tmp_path, order="window")))
    assert "/cache: File exists; set train.cache.dir" in caplog.text
    assert "Going on without: no epoch of this training needs it." in caplog.text


# The folder


def made(root, name, *, size=100_000, max_bytes=10**9):
    """An entry whose digest is all one letter."""
    files = {"rows": size}
    entry = open_entry(root, name * 32, files=files, needed_bytes=size, max_bytes=max_bytes)
    (entry.path / "rows").write_bytes(b"x" * size)
    return entry


def names(root):
    """Entries as they were called in `made`; whole names of anything else."""
    found = sorted(path.name for path in root.iterdir())
    return [name[-1] if name == f"rows-{name[-1] * 32}" else name for name in found]


def test_make_room_removes_what_was_used_longest_ago_and_no_more(tmp_path):
    for name in ("a", "b", "c"):
        made(tmp_path, name).close()
    long_ago = time.time() - 1000
    for age, name in enumerate(("b", "c", "a")):
        os.utime(tmp_path / f"rows-{name * 32}" / "lock", (long_ago + age, long_ago + age))
    made(tmp_path, "b").close()  # used again
    made(tmp_path, "d", max_bytes=350_000).close()
    assert names(tmp_path) == ["a", "b", "d"]
    make_room(tmp_path, 100_000, max_bytes=250_000)
    assert names(tmp_path) == ["d"]


def test_make_room_never_removes_what_is_in_use(tmp_path):
    used, unused = made(tmp_path, "a"), made(tmp_path, "b")
    unused.close()
    make_room(tmp_path, 100_000, max_bytes=0)
    assert names(tmp_path) == ["a"]
    used.close()
    make_room(tmp_path, 100_000, max_bytes=0)
    assert names(tmp_path) == []


def test_make_room_removes_what_dead_processes_left(tmp_path):
    made(tmp_path, "a").close()
    for left in (f".partial-rows-{'01' * 8}", f".trash-rows-{'45' * 8}"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "rows").write_bytes(b"x" * 50_000)
    (tmp_path / f".partial-rows-{'01' * 8}" / "lock").touch()
    make_room(tmp_path, 0, max_bytes=150_000)
    assert names(tmp_path) == ["a"]


def test_make_room_touches_nothing_that_is_no_entry(tmp_path):
    others = [".trash-0123", "data", "rows-" + "a" * 31, "rows-of-mine"]
    for name in others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
        (tmp_path / name / "thesis").write_bytes(b"x" * 100_000)
    made(tmp_path, "a").close()
    make_room(tmp_path, 100_000, max_bytes=0)
    assert names(tmp_path) == others


@pytest.mark.parametrize("hidden", ["folder", "lock", "name"])
def test_make_room_leaves_alone_what_this_user_may_not_touch(tmp_path, monkeypatch, hidden):
    made(tmp_path, "a").close()
    (theirs,) = tmp_path.iterdir()
    made(tmp_path, "b").close()

    def refusing(call):
        def refused(path, *arguments, **options):
            if Path(path).is_relative_to(theirs):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *arguments, **options)

        return refused

    owner, call = {"folder": (Path, "stat"), "lock": (os, "open"), "name": (Path, "rename")}[hidden]
    monkeypatch.setattr(owner, call, refusing(getattr(owner, call)))
    made(tmp_path, "c", max_bytes=0)
    monkeypatch.undo()
    assert names(tmp_path) == ["a", "c"]


def test_open_entry_that_another_process_made_meanwhile_is_shared(tmp_path, monkeypatch):
    others = []
    in_use = folder_module._in_use

    def overtaken(path):
        if others:
            return in_use(path)
        others.append(None)
        others[0] = made(tmp_path, "a")
        return None

    monkeypatch.setattr(folder_module, "_in_use", overtaken)
    entry = open_entry(tmp_path, "a" * 32, files={"rows": 9}, needed_bytes=9, max_bytes=10**9)
    assert os.path.samestat(os.fstat(entry.lock), os.fstat(others[0].lock))
    assert names(tmp_path) == ["a"]


def test_open_entry_that_is_evicted_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    evictions = iter([True])
    flock = folder_module.fcntl.flock

    def late(file, how):
        if next(evictions, False):
            make_room(tmp_path, 1, max_bytes=0)
        flock(file, how)

    monkeypatch.setattr(folder_module.fcntl, "flock", late)
    assert made(tmp_path, "a").path.name == "rows-" + "a" * 32
    assert names(tmp_path) == ["a"]


def test_cache_root_is_the_users_cache_folder_or_what_the_spec_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root(CacheSpec()) == tmp_path / "shardline"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root(CacheSpec()) == tmp_path / ".cache" / "shardline"
    assert str(cache_root(CacheSpec(dir="file:///scratch"))) == "/scratch"


def test_cache_root_of_a_user_without_a_home_asks_for_the_spec(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # in no table of users
    with pytest.raises(ResourceError, match=r"no home folder; set train\.cache\.dir to a folder"):
        cache_root(CacheSpec())
    assert str(cache_root(CacheSpec(dir="file:///scratch"))) == "/scratch"
