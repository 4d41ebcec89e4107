import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest

from shardline.errors import IntegrityError, NotFoundError, StoreError, StoreUnavailableError
from shardline.store import Marker, Store, commit_marker, open_store, read_marker, read_verified, s3
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


@pytest.fixture
def s3_answering(s3_environment, monkeypatch):
    """Point the client at a server that answers writes, plain and conditional, as it is told."""
    servers = []
    monkeypatch.setattr(s3, "MAX_ATTEMPTS", 1)

    def start(*, plain, conditional):
        class Answers(BaseHTTPRequestHandler):
            def do_PUT(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                status, code = conditional if "If-None-Match" in self.headers else plain
                body = f"<Error><Code>{code}</Code></Error>".encode() if status != 200 else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("answer", [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_open_store_that_refuses_conditions_says_so(s3_answering, answer):
    s3_answering(plain=(200, ""), conditional=answer)
    with pytest.raises(StoreError) as refused:
        open_store("s3://bucket/root")
    assert refused.value.message == (
        "store s3://bucket/root cannot be used: conditional writes are not supported; "
        "choose a server with conditional writes."
    )


@pytest.mark.parametrize("answer", [(400, "ExpiredToken"), (301, "PermanentRedirect")])
def test_open_store_that_refuses_every_write_shows_its_answer(s3_answering, answer):
    s3_answering(plain=answer, conditional=answer)
    with pytest.raises(StoreError) as refused:
        open_store("s3://bucket/root")
    assert refused.value.message == (
        f"s3://bucket/root/.shardline/probe answered {answer[0]} {answer[1]}; check `store` and "
        "the endpoint, region and credentials it is reached with."
    )


@pytest.mark.parametrize(
    "answer", [(503, "SlowDown"), (429, "TooManyRequests"), (400, "RequestTimeout")]
)
def test_write_that_may_pass_later_is_retryable(s3_answering, answer):
    s3_answering(plain=answer, conditional=answer)
    store = Store("s3://bucket/root")
    for write in (store.write, store.put_if_absent):
        with pytest.raises(StoreUnavailableError) as failed:
            write("key", b"")
        assert failed.value.message == (
            f"s3://bucket/root/key answered {answer[0]} {answer[1]}; run it again."
        )


def test_open_store_without_hard_links_names_the_folder(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StoreError) as refused:
        open_store(f"file://{tmp_path}/store")
    assert refused.value.message == (
        f"cannot make hard links in {tmp_path}/store: Operation not permitted; "
        "set store to a folder on a file system that has them."
    )


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
