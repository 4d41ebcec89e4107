"""Many objects, large ones and strange ones, on every S3 server that honours conditions."""

import hashlib
import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from shardline.errors import IntegrityError
from shardline.store import Store, open_store, s3, s3_upload

PART_BYTES = 5 << 20
"""The least that S3 takes."""

_roots = itertools.count()


@pytest.fixture
def store(any_s3):
    return Store(f"s3://{any_s3.bucket}/objects-{next(_roots)}")


@pytest.fixture
def in_parts(monkeypatch):
    monkeypatch.setattr(s3_upload, "PART_BYTES", PART_BYTES)
    monkeypatch.setattr(s3, "MAX_PUT_BYTES", PART_BYTES)
    monkeypatch.setattr(s3, "PIECE_BYTES", 3 << 20)


def unfinished(server, store):
    prefix = store.uri.removeprefix(f"s3://{server.bucket}/")
    return (
        server.client().list_multipart_uploads(Bucket=server.bucket, Prefix=prefix).get("Uploads")
    )


def test_listing_and_deleting_more_than_a_page(rgw, leading_to):
    leading_to(rgw)
    store = Store(f"s3://{rgw.bucket}/pages")
    keys = [f"many/{number:04d}" for number in range(1105)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.write(key, b""), keys))
    store.write("many/run.json", b"{}")
    store.write("manyfold", b"")
    assert [entry.key for entry in store.scan("many/")] == [*keys, "many/run.json"]
    assert store.list_folders("") == ["many"]
    store.delete_folder("many")
    assert [entry.key for entry in store.scan("")] == ["manyfold"]


def test_key_that_xml_cannot_hold_is_deleted_alone(store):
    for key in ("x/a\x01b", "x/plain"):
        store.write(key, b"")
    store.delete_folder("x")
    assert list(store.scan("")) == []


def test_large_object_in_parts_is_whole(store, any_s3, in_parts, tmp_path):
    data = random.Random(2).randbytes(2 * PART_BYTES + 12345)
    digest = hashlib.sha256(data).hexdigest()
    store.write("one", data)
    with store.writing("two") as sink:
        for start in range(0, len(data), 1 << 20):
            sink.write(data[start : start + (1 << 20)])
    assert sink.sha256 == digest
    for key in ("one", "two"):
        head = any_s3.client().head_object(
            Bucket=any_s3.bucket, Key=f"{store.uri.rpartition('/')[2]}/{key}"
        )
        assert head["ETag"].strip('"').endswith("-3"), "three parts"
        assert hashlib.sha256(store.read(key)).hexdigest() == digest
        assert store.read_range(key, PART_BYTES - 5, 10) == data[PART_BYTES - 5 : PART_BYTES + 5]
    store.read_to_file("two", tmp_path / "two", sha256=digest)
    with store.writing("exact") as sink:
        sink.write(data[: 2 * PART_BYTES])
    assert store.read("exact") == data[: 2 * PART_BYTES]
    assert not unfinished(any_s3, store)


def test_upload_that_breaks_off_leaves_no_parts(store, any_s3, in_parts, tmp_path):
    def break_off():
        with store.writing("half") as sink:
            sink.write(bytes(2 * PART_BYTES + 1))
            assert unfinished(any_s3, store), "it had begun"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    (tmp_path / "file").write_bytes(bytes(2 * PART_BYTES + 1))
    with pytest.raises(IntegrityError):
        store.write_file("other", tmp_path / "file", sha256="0" * 64)
    assert not unfinished(any_s3, store)
    assert list(store.scan("")) == []


def test_deleting_a_folder_frees_parts_of_killed_writers(store, any_s3, in_parts):
    for folder in ("dead", "alive"):
        with_parts = s3_upload.Upload(store._bytes, f"{folder}/x")
        with_parts.take(memoryview(bytes(PART_BYTES + 1)))  # and killed
    assert len(unfinished(any_s3, store)) == 2
    store.delete_folder("dead")
    assert [u["Key"].split("/")[-2] for u in unfinished(any_s3, store)] == ["alive"]


def test_object_that_is_replaced_while_it_is_read_is_not_mixed(store, in_parts, tmp_path):
    store.write("k", bytes(3 << 20) + b"old")
    pieces = store._bytes.pieces("k")
    next(pieces)
    store.write("k", bytes(3 << 20) + b"new")
    with pytest.raises(IntegrityError, match="k was replaced while it was read; try again"):
        next(pieces)


def test_opening_a_store_asks_once_per_process(any_s3, monkeypatch):
    uri = f"s3://{any_s3.bucket}/opened-{next(_roots)}"
    requests = []
    made = s3.S3Bytes.put_if_absent

    def counting(self, key, data):
        requests.append(key)
        return made(self, key, data)

    monkeypatch.setattr(s3.S3Bytes, "put_if_absent", counting)
    open_store(uri)
    assert len(requests) == 6  # two alone, four racing
    open_store(uri)
    open_store(f"{uri}/")
    assert len(requests) == 6
