"""A store that fails: what is retried, what is said, and that no checkpoint is ever half there."""

import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import moto.s3.models
import pyarrow as pa
import pytest
from tests.checkpoints import assert_whole, commit, manifest
from tests.fault_proxy import Fault, FaultProxy, dies_after, first_times

from shardline.artifacts import leases
from shardline.artifacts.checkpoint import list_checkpoints
from shardline.data.scratch import Scratch
from shardline.errors import ShardlineError, StoreUnavailableError, TrainingError
from shardline.garbage.collect import collect_garbage
from shardline.scoring.commit import read_counts
from shardline.store import Store, open_store, retrying, s3, s3_connection, s3_upload
from shardline.store.local import LocalBytes
from shardline.training.checkpoints.resume import restore_newest
from shardline.training.exchange.peers import Alone

ATTEMPTS = 3
PART_BYTES = 3000
DAY_S = 86400.0


@pytest.fixture
def proxied(s3_store, s3_environment, monkeypatch):
    """A bucket's store with the client's way to it leading through a proxy."""
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", ATTEMPTS)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(s3_connection, "READ_TIMEOUT_S", 0.3)
    with FaultProxy(s3_environment).running() as proxy:
        yield Proxied(s3_store.uri, s3_environment, proxy, monkeypatch)


class Proxied:
    def __init__(self, uri, direct, proxy, monkeypatch):
        self.store, self.proxy = Store(uri), proxy
        self._direct, self._monkeypatch = direct, monkeypatch
        self.through()

    def through(self):
        self._lead_to(self.proxy.endpoint)

    def around(self):
        """As a reader does whose way to the server is intact."""
        self._lead_to(self._direct)

    def _lead_to(self, endpoint):
        self._monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)


PASSING = {
    "500": Fault("error", 500),
    "503": Fault("error", 503),
    "reset": Fault("reset"),
    "lost answer": Fault("lost"),
    "stalled": Fault("stalled"),
}


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("name", PASSING)
def test_fault_that_passes_is_retried_and_not_noticed(proxied, name, method):
    commit(proxied.store, 1)
    proxied.proxy.follow(first_times(PASSING[name], ATTEMPTS - 1, method=method))
    commit(proxied.store, 2, keep=5)
    assert len(proxied.proxy.fired) == ATTEMPTS - 1
    assert assert_whole(proxied.store, 2) == 2


@pytest.mark.parametrize("kind", ["truncated", "halted"])
def test_answer_that_breaks_off_is_read_again(proxied, kind):
    commit(proxied.store, 1)
    (key,) = list_checkpoints(proxied.store, "r")[0].file_keys
    whole = proxied.store.read(key)
    proxied.proxy.follow(first_times(Fault(kind), ATTEMPTS - 1, method="GET"))
    assert proxied.store.read(key) == whole
    assert len(proxied.proxy.fired) == ATTEMPTS - 1
    proxied.proxy.follow(first_times(Fault(kind), ATTEMPTS, method="GET"))
    with pytest.raises(StoreUnavailableError, match=r"did not answer at http://127"):
        proxied.store.read(key)


def in_parts(store, key):
    with store.writing(key) as sink:
        sink.write(bytes(PART_BYTES + 1))


def to_file(store, key):
    with TemporaryDirectory() as folder:
        store.read_to_file(key, Path(folder, "file"))


OPERATIONS = {
    "read": lambda store, key: store.read(key),
    "read versioned": lambda store, key: store.read_versioned(key),
    "read range": lambda store, key: store.read_range(key, 0, 1),
    "read to file": to_file,
    "write": lambda store, key: store.write(key, b"x"),
    "write in parts": in_parts,
    "put if absent": lambda store, key: store.put_if_absent(key, b"x"),
    "swap": lambda store, key: store.compare_and_swap(key, b"x", version='"x"'),
    "exists": lambda store, key: store.exists(key),
    "scan": lambda store, key: list(store.scan(key)),
    "folders": lambda store, key: store.list_folders(key),
    "delete": lambda store, key: store.delete(key),
    "delete folder": lambda store, key: store.delete_folder(key),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_waits_for_ever_and_each_names_bucket_and_key(proxied, name, monkeypatch):
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(s3_upload, "PART_BYTES", PART_BYTES)
    proxied.proxy.follow(lambda request: Fault("stalled"))
    with pytest.raises(StoreUnavailableError) as given_up:
        OPERATIONS[name](proxied.store, "folder/key")
    assert re.fullmatch(
        rf"{proxied.store.uri}/folder/key/? did not answer at {proxied.proxy.endpoint}: .*; check "
        "that the address is right and the server is up, and run it again.",
        given_up.value.message,
    )
    assert len(proxied.proxy.fired) == 1


def arrow_parks(store):
    Scratch(store, "scratch/").write("rows", [pa.table({"x": [1]})])


def arrow_reads_a_footer(store):
    read_counts(store, "part-1")


@pytest.mark.parametrize("use", [arrow_parks, arrow_reads_a_footer])
def test_what_arrow_is_refused_is_a_typed_error(proxied, use):
    proxied.proxy.follow(lambda request: Fault("error", 403))
    with pytest.raises(StoreUnavailableError) as refused:
        use(proxied.store)
    assert proxied.proxy.fired
    assert refused.value.message.startswith(f"{proxied.store.uri}/")
    assert " could not be reached: " in refused.value.message
    assert refused.value.message.endswith("may use it, and run the same command again.")


@pytest.mark.parametrize("name", PASSING)
def test_fault_that_stays_is_a_typed_error_and_the_last_checkpoint_stays(proxied, name):
    commit(proxied.store, 1)
    proxied.proxy.follow(lambda request: PASSING[name])
    with pytest.raises(TrainingError, match=r"rank 0: s3://.*(did not answer|run it again)") as got:
        commit(proxied.store, 2)
    assert (got.value.exit_code, type(got.value.__cause__)) == (1, StoreUnavailableError)
    assert len(proxied.proxy.requests) == ATTEMPTS
    proxied.around()
    assert_whole(proxied.store, 1, 2)
    commit(proxied.store, 3)  # the same command continues
    assert assert_whole(proxied.store, 3) == 3


@pytest.mark.parametrize(("world_size", "part_bytes"), [(1, 32 << 20), (2, 3000)])
@pytest.mark.parametrize("answering_last", [True, False])
def test_store_that_dies_after_any_request_leaves_the_old_or_the_new_checkpoint(
    proxied, monkeypatch, world_size, answering_last, part_bytes
):
    """Every request of a commit, retention included, in parts and in one piece."""
    monkeypatch.setattr(s3, "MAX_PUT_BYTES", part_bytes)
    monkeypatch.setattr(s3_upload, "PART_BYTES", part_bytes)
    monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 1)
    commit(proxied.store, 1, keep=1)
    proxied.proxy.follow(lambda request: None)
    commit(proxied.store, 2, world_size=world_size, keep=1)
    num_requests = len(proxied.proxy.requests)
    assert num_requests > 5

    ends = []
    for step, count in enumerate(range(num_requests + 1), start=3):
        proxied.proxy.follow(dies_after(count, answering_last=answering_last))
        try:
            commit(proxied.store, step, world_size=world_size, keep=1)
        except TrainingError:
            ends.append("failed")
        else:
            ends.append("committed")
        proxied.around()
        found = assert_whole(proxied.store, step - 1, step)
        assert found == step or ends[-1] == "failed"
        commit(proxied.store, step, world_size=world_size, keep=1)  # the same command continues
        assert [c.step for c in list_checkpoints(proxied.store, "r")] == [step]
        assert_whole(proxied.store, step)
        proxied.through()
    assert {"failed", "committed"} == set(ends)


def continue_run(store, step):
    """What one command does with a run: continue it, commit with retention, and tidy up."""
    restore_newest(store, "r", Alone())
    commit(store, step, keep=1)
    clock = lambda: time.time() + 2 * DAY_S  # noqa: E731
    collect_garbage(store.uri, delete=True, clock=clock)


def leave_garbage(store, step):
    """Of a commit that nobody completed, and of a reader that died."""
    store.write(f"{manifest(step).key}/tensors-0123456789abcdef.safetensors", b"half")
    store.write(f"{manifest(step).key}/readers/1-ab.json", b"{}")


def assert_continues(store, step, *, died):
    """Whatever the command that died has left, readers find a whole one and the next goes on."""
    found = assert_whole(store, step - 2, step)
    assert died or found == step
    commit(store, step, keep=1)
    assert list_checkpoints(store, "r")[-1].step == step


def test_store_that_dies_after_any_request_of_resume_commit_retention_and_gc(proxied, monkeypatch):
    """An hour passes between two commands: what a reader held that died is free again."""
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(leases, "LEASE_S", -leases.CLOCK_SKEW_S - 1)
    commit(proxied.store, 2, keep=1)
    leave_garbage(proxied.store, 1)
    proxied.proxy.follow(lambda request: None)
    continue_run(proxied.store, 4)
    num_requests = len(proxied.proxy.requests)
    assert num_requests > 20
    ends = set()
    for count in range(num_requests + 2):
        step = 6 + 2 * count
        proxied.around()
        leave_garbage(proxied.store, step - 3)
        proxied.through()
        answering = bool(count % 2) or count == num_requests
        proxied.proxy.follow(dies_after(count, answering_last=answering))
        try:
            continue_run(proxied.store, step)
        except ShardlineError:
            ends.add("died")
            died = True
        else:
            ends.add("done")
            died = False
        proxied.around()
        assert_continues(proxied.store, step, died=died)
    assert ends == {"died", "done"}
    assert [c.step for c in list_checkpoints(proxied.store, "r")] == [step]
    assert len(list(proxied.store.scan("runs/"))) == 2


class Died(BaseException):
    """Nothing of the process runs any more."""


class DyingFolder:
    """A folder whose user dies after so many operations; the last one may still take effect."""

    def __init__(self, folder, count, *, finishing_last):
        self.operations = 0
        self._folder, self._count, self._finishing_last = folder, count, finishing_last

    def __getattr__(self, name):
        operation = getattr(self._folder, name)

        def counted(*arguments, **options):
            self.operations += 1
            if self.operations > self._count:
                raise Died
            if self.operations == self._count and self._finishing_last:
                result = operation(*arguments, **options)
                list(result) if name == "scan" else None
                raise Died
            return operation(*arguments, **options)

        return counted


@pytest.mark.parametrize("finishing_last", [True, False])
def test_process_that_dies_after_any_operation_on_a_folder(tmp_path, monkeypatch, finishing_last):
    store = open_store(f"file://{tmp_path}/store")
    folder = LocalBytes(tmp_path / "store")

    def dying_after(count):
        dying = DyingFolder(folder, count, finishing_last=finishing_last)
        monkeypatch.setattr("shardline.store.store._bytes_at", lambda uri: dying)
        return dying

    commit(store, 2, keep=1)
    leave_garbage(store, 1)
    counting = dying_after(10_000)
    continue_run(store, 4)
    assert counting.operations > 20
    for number in range(counting.operations):
        step, count = 6 + 2 * number, number + finishing_last
        monkeypatch.undo()
        leave_garbage(store, step - 3)
        dying_after(count)
        with pytest.raises(Died):
            continue_run(store, step)
        monkeypatch.undo()
        assert_continues(store, step, died=True)
    continue_run(store, step)  # whose gc frees what readers held that died
    continue_run(store, step)
    assert [c.step for c in list_checkpoints(store, "r")] == [step]
    assert len(list(store.scan("runs/"))) == 2


FULL_DISK = """
import json, resource, signal, sys
from tests.checkpoints import commit
from shardline.errors import ShardlineError
from shardline.store import open_store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = open_store(sys.argv[1])
commit(store, 1)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for largest_file in (0, 100, 5000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    try:
        commit(store, 2)
    except ShardlineError as error:
        print(error.exit_code, type(error.__cause__).__name__, error)
"""


def test_full_disk_is_a_typed_error_and_the_last_checkpoint_stays(tmp_path):
    """A process that may write no large file: what a full disk is to a test without privileges."""
    store = open_store(f"file://{tmp_path}/store")
    command = [sys.executable, "-c", FULL_DISK, store.uri]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    said = ended.stdout.splitlines()
    assert len(said) == 3
    for line in said:
        assert line.startswith("1 StoreUnavailableError rank 0: cannot write /")
        assert line.endswith(
            ": File too large; make room and run the same command again, what was committed before "
            "is intact."
        )
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]
    assert_whole(store, 1)
    commit(store, 2)  # the same command continues
    assert_whole(store, 2)
