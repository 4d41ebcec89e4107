"""Servers that stumble: what is retried, who won, what is left; each fault is shown to have hit."""

import itertools
import random
import time

import pyarrow.fs
import pytest
from tests.fault_proxy import Fault, FaultProxy, dies_after, first_times

from shardline.errors import ShardlineError, StoreUnavailableError
from shardline.store import Store, retrying, s3, s3_connection, s3_upload

ATTEMPTS = 4
PART_BYTES = 5 << 20

_roots = itertools.count()

ONCE = {
    "500": Fault("error", 500),
    "503": Fault("error", 503),
    "409": Fault("error", 409),
    "reset": Fault("reset"),
    "lost answer": Fault("lost"),
    "500 that took effect": Fault("mistaken", 500),
    "stalled": Fault("stalled"),
}


@pytest.fixture
def proxy(any_s3, monkeypatch):
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", ATTEMPTS)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(s3_connection, "READ_TIMEOUT_S", 10)
    with FaultProxy(any_s3.endpoint).running() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def store(any_s3, proxy):
    return Store(f"s3://{any_s3.bucket}/faults-{next(_roots)}")


@pytest.mark.parametrize("name", ONCE)
def test_winner_whose_answer_failed_once_knows_that_it_won(store, proxy, name, monkeypatch):
    if name == "stalled":
        monkeypatch.setattr(s3_connection, "READ_TIMEOUT_S", 1)
    proxy.follow(first_times(ONCE[name], 1, method="PUT"))
    assert store.put_if_absent("claim", b"mine")
    assert len(proxy.fired) == 1
    assert store.read("claim") == b"mine"

    _, version = store.read_versioned("claim")
    proxy.follow(first_times(ONCE[name], 1, method="PUT"))
    assert store.compare_and_swap("claim", b"next", version=version)
    assert len(proxy.fired) == 1
    assert store.read("claim") == b"next"


def test_loser_whose_answer_failed_once_knows_that_it_lost(store, proxy):
    """Another writer comes between the attempts, with the very same content."""
    rival = Store(store.uri)

    def plan(request):
        if request.method != "PUT" or len(proxy.requests) > 1:
            return None
        return Fault("reset")

    proxy.follow(plan)
    original = retrying.pause_s

    def meanwhile(attempt, **given):
        assert rival.put_if_absent("claim", b"same")
        return original(attempt, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrying, "pause_s", meanwhile)
        assert not store.put_if_absent("claim", b"same")
    assert len(proxy.fired) == 1


def test_refusal_that_is_injected_is_believed(store, proxy):
    proxy.follow(first_times(Fault("error", 412), 1, method="PUT"))
    assert not store.put_if_absent("claim", b"mine")
    assert len(proxy.fired) == 1
    assert not store.exists("claim")
    store.write("pointer", b"old")
    _, version = store.read_versioned("pointer")
    proxy.follow(first_times(Fault("error", 412), 2, method="PUT"))
    assert not store.compare_and_swap("pointer", b"new", version=version)
    assert len(proxy.fired) == 2, "with the version's quotes and without"
    assert store.read("pointer") == b"old"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault("error", 409), "writers of {uri} kept conflicting; run it again."),
        (Fault("error", 503), "{uri} answered 503 503; run it again."),
    ],
)
def test_fault_that_stays_is_tried_as_often_as_the_budget_says(store, proxy, fault, sentence):
    proxy.follow(lambda request: fault)
    with pytest.raises(StoreUnavailableError) as failed:
        store.put_if_absent("claim", b"mine")
    assert failed.value.message == sentence.format(uri=store.uri_of("claim"))
    assert len(proxy.fired) == len(proxy.requests) == ATTEMPTS
    for act in (lambda: store.read("k"), lambda: store.write("k", b""), lambda: [*store.scan("")]):
        proxy.follow(lambda request: Fault("error", 500))
        with pytest.raises(StoreUnavailableError):
            act()
        assert len(proxy.fired) == len(proxy.requests) == ATTEMPTS


def test_answers_that_break_off_are_read_again(store, proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "PIECE_BYTES", 40_000)
    data = random.Random(3).randbytes(100_000)
    store.write("k", data)
    for number in range(30):
        store.write(f"many/{number}", b"")
    cases = {
        "whole": lambda: store.read("k") == data,
        "range": lambda: store.read_range("k", 1000, 5000) == data[1000:6000],
        "listing": lambda: len([*store.scan("many/")]) == 30,
        "folders": lambda: store.list_folders("") == ["many"],
    }
    for name, is_right in cases.items():
        proxy.follow(first_times(Fault("truncated"), ATTEMPTS - 1, method="GET"))
        assert is_right(), name
        assert len(proxy.fired) == ATTEMPTS - 1
    proxy.follow(lambda request: Fault("truncated") if request.number % 2 else None)
    store.read_to_file("k", tmp_path / "k")
    assert (tmp_path / "k").read_bytes() == data
    assert len(proxy.fired) == 3


def test_upload_whose_server_dies_after_any_request_leaves_nothing_or_all(
    store, proxy, any_s3, monkeypatch
):
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(s3_upload, "PART_BYTES", PART_BYTES)
    data = bytes(PART_BYTES) + b"end"

    def upload(key):
        with store.writing(key) as sink:
            sink.write(data)

    proxy.follow(lambda request: None)
    upload("folder/whole")
    num_requests = len(proxy.requests)
    assert num_requests == 4  # begin, two parts, complete
    for count, answering in itertools.product(range(num_requests + 1), (True, False)):
        key = f"folder/{count}-{answering}"
        proxy.follow(dies_after(count, answering_last=answering))
        try:
            upload(key)
        except ShardlineError:
            assert proxy.fired
        else:
            assert count == num_requests
        proxy.follow(lambda request: None)
        if store.exists(key):
            assert count == num_requests
            assert store.read(key) == data
    store.delete_folder("folder")
    left = any_s3.client().list_multipart_uploads(Bucket=any_s3.bucket)
    assert not [u for u in left.get("Uploads", []) if "/folder/" in u["Key"]]


def test_upload_whose_last_answer_is_lost_is_recognised(store, proxy, monkeypatch):
    monkeypatch.setattr(s3_upload, "PART_BYTES", PART_BYTES)

    def plan(request):
        is_last = request.method == "POST" and "uploadId" in request.path
        return Fault("lost") if is_last and not proxy.fired else None

    proxy.follow(plan)
    with store.writing("k") as sink:
        sink.write(bytes(PART_BYTES + 1))
    assert len(proxy.fired) == 1
    assert store.read("k") == bytes(PART_BYTES + 1)


def test_chain_of_swaps_on_a_bad_line_is_linear(store, proxy, monkeypatch):
    """No swap that was reported is missing, and none is there twice."""
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 12)
    draw = random.Random(4)
    kinds = [Fault("lost"), Fault("mistaken", 500), Fault("reset"), Fault("error", 503),
             Fault("error", 409), Fault("truncated")]  # fmt: skip
    store.write("chain", b"0")
    proxy.follow(lambda request: draw.choice(kinds) if draw.random() < 0.2 else None)
    done = 0
    while done < 60:
        data, version = store.read_versioned("chain")
        assert int(data) == done
        if store.compare_and_swap("chain", b"%d" % (done + 1), version=version):
            done += 1
    assert len({fault.kind for _, fault in proxy.fired}) == 5
    proxy.follow(lambda request: None)
    assert store.read("chain") == b"60"


def test_arrow_does_not_wait_for_a_server_that_stalls(store, proxy, monkeypatch):
    monkeypatch.setattr(s3_connection, "READ_TIMEOUT_S", 1)
    store.write("k", b"x" * 100)
    filesystem, root = store.filesystem()
    proxy.follow(lambda request: Fault("stalled"))
    began_s = time.monotonic()
    with pytest.raises(OSError, match=r"(?i)timeout|timed out|network"):
        filesystem.get_file_info([f"{root}/k"])
    assert proxy.fired
    assert time.monotonic() - began_s < 30
    proxy.follow(lambda request: None)
    assert filesystem.get_file_info([f"{root}/k"])[0].type == pyarrow.fs.FileType.File
