import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest

from shardline.errors import IntegrityError, NotFoundError, StoreError
from shardline.store import Marker, Store, commit_marker, open_store, read_marker, read_verified
from shardline.store import store as store_module


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3_store")
    return open_store(f"file://{tmp_path}/store")


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


def test_read_missing_key_raises_not_found(store):
    with pytest.raises(NotFoundError, match=r"there is no .*nothing/here"):
        store.read("nothing/here")


def test_put_if_absent_existing_object_keeps_its_content(store):
    assert store.put_if_absent("marker", b"first")
    assert not store.put_if_absent("marker", b"second")
    assert store.read("marker") == b"first"


def test_put_if_absent_racing_threads_exactly_one_wins(store):
    for attempt in range(5):
        key = f"race/{attempt}"
        won = race(8, lambda n, key=key: store.put_if_absent(key, str(n).encode()))
        assert sum(won) == 1
        assert store.read(key) == str(won.index(True)).encode()


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


def test_delete_folder_leaves_neighbours_alone(store):
    store.write("runs/a/x", b"")
    store.write("runs/ab/x", b"")
    store.delete_folder("runs/a")
    store.delete("runs/never")
    assert [e.key for e in store.scan("runs/")] == ["runs/ab/x"]


def test_exists_prefix_of_a_key_is_not_the_key(store):
    store.write("runs/a/x", b"")
    assert store.exists("runs/a/x")
    assert not store.exists("runs/a")
    assert not store.exists("runs/a/xy")


def test_filesystem_reads_what_the_store_wrote(store, tmp_path):
    import pyarrow as pa

    file = tmp_path / "local.parquet"
    pq.write_table(pa.table({"x": [1, 2]}), file)
    store.write("t.parquet", file.read_bytes())
    filesystem, root = store.filesystem()
    assert pq.read_table(f"{root}/t.parquet", filesystem=filesystem)["x"].to_pylist() == [1, 2]


def test_upload_folder_keeps_relative_names(store, tmp_path):
    (tmp_path / "up/sub").mkdir(parents=True)
    (tmp_path / "up/a").write_bytes(b"a")
    (tmp_path / "up/sub/b").write_bytes(b"b")
    store.upload_folder(tmp_path / "up", "models/m")
    assert [e.key for e in store.scan("models/")] == ["models/m/a", "models/m/sub/b"]


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


class Forgetful:
    """Bytes whose conditional writes always go through, as some S3 servers have them."""

    def __init__(self, honest, *, ignores):
        self._honest = honest
        self._ignores = ignores

    def __getattr__(self, name):
        return getattr(self._honest, name)

    def put_if_absent(self, key, data):
        if self._ignores != "if-none-match":
            return self._honest.put_if_absent(key, data)
        self._honest.write(key, data)
        return True

    def compare_and_swap(self, key, data, version):
        if self._ignores != "if-match":
            return self._honest.compare_and_swap(key, data, version)
        self._honest.write(key, data)
        return True


@pytest.mark.parametrize(
    ("ignores", "sentence"),
    [
        ("if-none-match", r"a conditional write \(If-None-Match: \*\) replaced an existing object"),
        ("if-match", "a write with an outdated If-Match version was accepted"),
    ],
)
def test_open_store_that_ignores_conditions_is_refused(tmp_path, monkeypatch, ignores, sentence):
    honest = store_module._bytes_at
    monkeypatch.setattr(
        store_module, "_bytes_at", lambda uri: Forgetful(honest(uri), ignores=ignores)
    )
    with pytest.raises(StoreError, match=sentence):
        open_store(f"file://{tmp_path}")


def test_open_store_below_a_regular_file_raises_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*set store to a folder that this user"):
        open_store(f"file://{tmp_path}/file/store")


def test_open_store_missing_bucket_raises_store_error(s3_environment):
    with pytest.raises(StoreError, match="bucket 'no-such-bucket' does not exist"):
        open_store("s3://no-such-bucket/root")


def test_store_whole_root_scan_lists_every_key(tmp_path):
    store = Store(f"file://{tmp_path}/root")
    (tmp_path / "beside").write_text("not in the store")
    store.write("a", b"")
    store.write("b/c", b"")
    assert [e.key for e in store.scan("")] == ["a", "b/c"]
