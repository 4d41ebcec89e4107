import errno
import hashlib
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from shardline.errors import StoreError, StoreUnavailableError
from shardline.store import (
    Store,
    open_store,
    retrying,
    s3_upload,
)
from shardline.store import store as store_module


class Pretender:
    """Bytes whose conditional writes go through: all of them, or those that come at one time."""

    def __init__(self, honest, *, ignores, only_racing):
        self._honest = honest
        self._ignores = ignores
        self._only_racing = only_racing

    def __getattr__(self, name):
        return getattr(self._honest, name)

    def put_if_absent(self, key, data):
        if self._goes_through("if-none-match"):
            self._honest.write(key, data)
            return True
        return self._honest.put_if_absent(key, data)

    def compare_and_swap(self, key, data, version):
        if self._goes_through("if-match"):
            self._honest.write(key, data)
            return True
        return self._honest.compare_and_swap(key, data, version)

    def _goes_through(self, condition):
        is_racing = threading.current_thread() is not threading.main_thread()
        return condition == self._ignores and (is_racing or not self._only_racing)


@pytest.mark.parametrize(
    ("ignores", "only_racing", "sentence"),
    [
        ("if-none-match", False, "replaced an object on the condition that there is none"),
        ("if-none-match", True, "let 4 of 4 racing writers create one object (If-None-Match: *)"),
        (
            "if-match",
            False,
            "let 4 of 4 racing writers replace the same version of an object (If-Match)",
        ),
    ],
)
def test_open_store_that_ignores_conditions_is_refused(
    tmp_path, monkeypatch, ignores, only_racing, sentence
):
    honest = store_module._bytes_at
    pretender = Pretender(honest(f"file://{tmp_path}"), ignores=ignores, only_racing=only_racing)
    monkeypatch.setattr(store_module, "_bytes_at", lambda uri: pretender)
    for _ in range(2):  # a refusal is no proof, either
        with pytest.raises(StoreError) as refused:
            open_store(f"file://{tmp_path}")
        assert refused.value.message == (
            f"store file://{tmp_path} cannot be used: the file system of {tmp_path} {sentence}; "
            "choose a server with conditional writes."
        )
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and "lock" not in path.name
    ] == []


@pytest.fixture
def s3_answering(s3_environment, monkeypatch):
    """Point the client at a server that answers writes, plain and conditional, as it is told."""
    servers = []
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 1)

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
        "store s3://bucket/root cannot be used: the S3 server at "
        f"{os.environ['AWS_ENDPOINT_URL']} does not support conditional writes; choose a server "
        "with conditional writes."
    )


@pytest.mark.parametrize("answer", [(400, "ExpiredToken"), (301, "PermanentRedirect")])
def test_open_store_that_refuses_every_write_shows_its_answer(s3_answering, answer):
    s3_answering(plain=answer, conditional=answer)
    with pytest.raises(StoreError) as refused:
        open_store("s3://bucket/root")
    assert re.fullmatch(
        rf"s3://bucket/root/.shardline/probes/\w+-pointer answered {answer[0]} {answer[1]}; check "
        "`store` and the endpoint, region and credentials it is reached with.",
        refused.value.message,
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
        f"cannot make hard links in {tmp_path}/store/.shardline/probes: Operation not permitted; "
        "set store to a folder on a file system that has them."
    )


def test_open_store_below_a_regular_file_raises_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*set store to a folder that this user"):
        open_store(f"file://{tmp_path}/file/store")


def test_open_store_missing_bucket_raises_store_error(s3_environment):
    with pytest.raises(StoreError, match="bucket 'no-such-bucket' does not exist"):
        open_store("s3://no-such-bucket/root")


def test_what_people_read_has_its_content_type(s3_store, monkeypatch, tmp_path):
    """The S3 console opens it then; what has none is saved as a file."""
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)
    s3_store.put_if_absent("a/model.json", b"{}")
    s3_store.write("a/MODEL_CARD.md", "# Köln".encode())
    s3_store.write("a/metrics.jsonl", b"{}", sha256=hashlib.sha256(b"{}").hexdigest())
    with s3_store.writing("a/large.json") as sink:
        sink.write(bytes(6 << 20))
    s3_store.write("a/saved_model.pb", b"graph")
    bucket, _, root = s3_store.uri.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])

    def found(name):
        return client.head_object(Bucket=bucket, Key=f"{root}/a/{name}")["ContentType"]

    assert found("model.json") == found("large.json") == "application/json"
    assert found("MODEL_CARD.md") == found("metrics.jsonl") == "text/plain; charset=utf-8"
    assert found("saved_model.pb") == "binary/octet-stream"
    _, version = s3_store.read_versioned("a/model.json")
    assert s3_store.compare_and_swap("a/model.json", b"[]", version=version)
    assert found("model.json") == "application/json"


def test_store_whole_root_scan_lists_every_key(tmp_path):
    store = Store(f"file://{tmp_path}/root")
    (tmp_path / "beside").write_text("not in the store")
    store.write("a", b"")
    store.write("b/c", b"")
    assert [e.key for e in store.scan("")] == ["a", "b/c"]
