"""What every store must do, as tests; the fixture `store` of the collecting module says which.

Run on a folder and on moto by tests/storage/store, on Ceph by tests/s3.
"""

import hashlib
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from shardline.errors import IntegrityError, NotFoundError
from shardline.store import Marker, commit_marker, open_store, read_marker, read_verified

AWKWARD = (
    "ümläut/日本語.txt", "a b/c  d", "plus+percent%25%", "quotes\"'", "<&>;", "back\\slash",
    "tilde~star*(x)!", "dots../..x", "=eq&amp=1?#frag", "emoji-😀", "trailing ",
)  # fmt: skip


class Note(Marker):
    text: str


def race(count, act):
    """Run `act(number)` in `count` threads that start together."""
    barrier = threading.Barrier(count)

    def runner(number):
        barrier.wait(timeout=30)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(runner, range(count)))


def test_write_read_back_same_bytes(store):
    store.write("a/b", b"one")
    store.write("a/b", b"two")
    assert store.read("a/b") == b"two"
    store.write("empty", b"")
    assert store.read("empty") == b""
    data = random.Random(0).randbytes(300_000)
    store.write("hashed", memoryview(data), sha256=hashlib.sha256(data).hexdigest())
    assert store.read("hashed") == data


def test_read_missing_key_raises_not_found(store):
    for read in (
        store.read,
        store.read_versioned,
        lambda key: store.read_range(key, 0, 1),
        lambda key: store.compare_and_swap(key, b"", version='"' + "0" * 32 + '"'),
    ):
        with pytest.raises(NotFoundError, match=r"there is no .*nothing/here"):
            read("nothing/here")


def test_read_range_gives_what_is_there(store):
    store.write("k", b"0123456789")
    assert store.read_range("k", 0, 4) == b"0123"
    assert store.read_range("k", 7, 100) == b"789"
    assert store.read_range("k", 10, 5) == b""
    assert store.read_range("k", 99, 5) == b""
    assert store.read_range("k", 3, 0) == b""
    store.write("empty", b"")
    assert store.read_range("empty", 0, 5) == b""


def test_writing_in_pieces_appears_at_the_end(store):
    with store.writing("streamed") as sink:
        for number in range(100):
            sink.write(b"%04d" % number)
        assert not store.exists("streamed")
    expected = b"".join(b"%04d" % number for number in range(100))
    assert store.read("streamed") == expected
    assert (sink.size, sink.sha256) == (400, hashlib.sha256(expected).hexdigest())
    with store.writing("streamed"):
        pass
    assert store.read("streamed") == b""


def test_writing_that_breaks_off_changes_nothing(store):
    store.write("k", b"before")

    def break_off(key):
        with store.writing(key) as sink:
            sink.write(b"half")
            raise KeyboardInterrupt

    for key in ("k", "new"):
        with pytest.raises(KeyboardInterrupt):
            break_off(key)
    assert store.read("k") == b"before"
    assert [entry.key for entry in store.scan("")] == ["k"]


def test_writing_takes_what_arrow_writes(store):
    table = pa.table({"x": list(range(1000))})
    with store.writing("t.parquet") as sink:
        pq.write_table(table, sink)
    filesystem, root = store.filesystem()
    assert pq.read_table(f"{root}/t.parquet", filesystem=filesystem).equals(table)


def test_file_to_store_and_back(store, tmp_path):
    data = random.Random(1).randbytes(200_000)
    (tmp_path / "in").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    store.write_file("f", tmp_path / "in", sha256=digest)
    assert store.read("f") == data
    store.read_to_file("f", tmp_path / "folder" / "out", sha256=digest)
    assert (tmp_path / "folder" / "out").read_bytes() == data
    store.write("empty", b"")
    store.read_to_file("empty", tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def test_file_that_is_another_one_is_neither_written_nor_read(store, tmp_path):
    (tmp_path / "in").write_bytes(b"changed")
    with pytest.raises(IntegrityError, match=r"in has changed since its sha256 was 000000000000"):
        store.write_file("f", tmp_path / "in", sha256="0" * 64)
    assert not store.exists("f")
    store.write_file("f", tmp_path / "in")
    with pytest.raises(IntegrityError, match="f is damaged: its marker promises sha256 0000"):
        store.read_to_file("f", tmp_path / "out", sha256="0" * 64)
    with pytest.raises(NotFoundError, match=r"there is no .*never"):
        store.read_to_file("never", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in"]


def test_awkward_keys_are_keys_like_any_other(store):
    for key in AWKWARD:
        check_key(store, key)
    for key in AWKWARD:
        store.write(key, b"")
    assert {entry.key for entry in store.scan("")} == set(AWKWARD)


def check_key(store, key):
    assert store.put_if_absent(key, b"1")
    assert not store.put_if_absent(key, b"2")
    _, version = store.read_versioned(key)
    assert store.compare_and_swap(key, b"3", version=version)
    assert store.read(key) == b"3"
    assert [entry.key for entry in store.scan("")] == [key]
    filesystem, root = store.filesystem()
    with filesystem.open_input_file(f"{root}/{key}") as file:
        assert file.read() == b"3"
    store.write(f"folder/{key}", b"")
    store.delete_folder("folder")
    assert store.exists(key)
    store.delete(key)
    assert list(store.scan("")) == []


def test_put_if_absent_existing_object_keeps_its_content(store):
    assert store.put_if_absent("marker", b"first")
    assert not store.put_if_absent("marker", b"second")
    assert store.read("marker") == b"first"


def test_put_if_absent_twenty_racing_writers_exactly_one_wins(store):
    for attempt in range(3):
        key = f"race/{attempt}"
        won = race(20, lambda n, key=key: store.put_if_absent(key, b"%d" % n))
        assert sum(won) == 1
        assert store.read(key) == b"%d" % won.index(True)


def test_compare_and_swap_twenty_racing_writers_exactly_one_wins(store):
    store.write("pointer", b"start")
    for attempt in range(3):
        _, version = store.read_versioned("pointer")
        won = race(
            20, lambda n, v=version, a=attempt: store.compare_and_swap(
                "pointer", b"%d of %d" % (n, a), version=v
            )
        )  # fmt: skip
        assert sum(won) == 1
        assert store.read("pointer") == b"%d of %d" % (won.index(True), attempt)


def test_compare_and_swap_outdated_version_changes_nothing(store):
    store.write("pointer", b"1")
    _, version = store.read_versioned("pointer")
    assert store.compare_and_swap("pointer", b"2", version=version)
    assert not store.compare_and_swap("pointer", b"3", version=version)
    assert store.read("pointer") == b"2"


def test_compare_and_swap_racing_counters_lose_no_increment(store):
    store.write("counter", b"0")

    def add_one(_):
        while True:
            data, version = store.read_versioned("counter")
            if store.compare_and_swap("counter", b"%d" % (int(data) + 1), version=version):
                return

    race(4, lambda n: [add_one(n) for _ in range(5)])
    assert store.read("counter") == b"20"


def test_scan_prefix_lists_matching_keys_in_order(store):
    for key in ("runs/b/x", "runs/a/y", "runs/ab", "other"):
        store.write(key, key.encode())
    assert [e.key for e in store.scan("runs/a")] == ["runs/a/y", "runs/ab"]
    assert [(e.key, e.size) for e in store.scan("runs/")] == [
        ("runs/a/y", 8), ("runs/ab", 7), ("runs/b/x", 8),
    ]  # fmt: skip
    assert list(store.scan("nowhere/")) == []


def test_scan_changed_object_changes_fingerprint(store):
    store.write("k", b"one")
    before = [e.fingerprint for e in store.scan("k")]
    store.write("k", b"other")
    assert [e.fingerprint for e in store.scan("k")] != before


def test_list_folders_names_only_folders_with_objects(store):
    store.write("models/b/1/model.json", b"")
    store.write("models/a/1/model.json", b"")
    store.write("models/file", b"")
    assert store.list_folders("models") == ["a", "b"]
    assert store.list_folders("models/a") == ["1"]
    assert store.list_folders("nowhere") == []
    assert store.list_folders("") == ["models"]


def test_delete_folder_leaves_neighbours_alone(store):
    store.write("runs/a/x", b"")
    store.write("runs/a/deep/run.json", b"")
    store.write("runs/ab/x", b"")
    store.delete_folder("runs/a")
    store.delete("runs/never")
    store.delete_folder("nowhere")
    assert [e.key for e in store.scan("runs/")] == ["runs/ab/x"]


def test_exists_prefix_of_a_key_is_not_the_key(store):
    store.write("runs/a/x", b"")
    assert store.exists("runs/a/x")
    assert not store.exists("runs/a")
    assert not store.exists("runs/a/xy")


def test_filesystem_survives_pickling_and_lists(store):
    store.write("folder/a", b"12")
    filesystem, root = store.filesystem()
    filesystem = pickle.loads(pickle.dumps(filesystem))
    selector = pyarrow.fs.FileSelector(f"{root}/folder")
    assert [(info.base_name, info.size) for info in filesystem.get_file_info(selector)] == [
        ("a", 2)
    ]
    with filesystem.open_output_stream(f"{root}/folder/b") as stream:
        stream.write(b"by arrow")
    assert store.read("folder/b") == b"by arrow"


def test_marker_second_commit_is_refused(store):
    assert commit_marker(store, "note.json", Note(text="one"))
    assert not commit_marker(store, "note.json", Note(text="two"))
    assert read_marker(store, "note.json", Note).text == "one"


def test_marker_of_another_kind_raises_integrity_error(store):
    store.write("note.json", b'{"format": 1, "other": 2}')
    with pytest.raises(IntegrityError, match="is no Note: text: Field required"):
        read_marker(store, "note.json", Note)


def test_read_verified_other_bytes_raises_integrity_error(store):
    store.write("k", b"damaged")
    with pytest.raises(IntegrityError, match="k is damaged: its marker promises sha256 0000"):
        read_verified(store, "k", sha256="0" * 64)


def test_opening_leaves_nothing_behind(store):
    assert open_store(store.uri) == store
    assert list(store.scan("")) == []
