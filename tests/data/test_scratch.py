"""Tables parked between passes: whole or not there."""

import resource
from contextlib import contextmanager

import pyarrow as pa
import pytest
from tests.raw_sources import spec_for, write_csv

from shardline.data.origin import find_origin
from shardline.data.quarantine import QuarantineLog, Rejected
from shardline.data.scratch import Scratch
from shardline.errors import StoreUnavailableError
from shardline.store import Store


@contextmanager
def largest_file(num_bytes):
    """For a while, no file of this process can be larger: what a full disk does, and says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def numbers(start, stop):
    return pa.table({"x": pa.array(range(start, stop), pa.int64())})


def test_scratch_gives_back_batches_and_tells_the_size(tmp_path):
    scratch = Scratch(Store(f"file://{tmp_path}"), "folder/")
    size = scratch.write("a/b.arrow", [numbers(0, 3), numbers(3, 5)])
    assert size == (tmp_path / "folder/a/b.arrow").stat().st_size
    assert [t["x"].to_pylist() for t in scratch.read("a/b.arrow")] == [[0, 1, 2], [3, 4]]
    assert [t["x"].to_pylist() for t in scratch.read("a/b.arrow", [1])] == [[3, 4]]
    assert scratch.write("none.arrow", []) == 0


def test_scratch_broken_off_write_leaves_what_was_there(tmp_path):
    scratch = Scratch(Store(f"file://{tmp_path}"))

    def torn():
        yield numbers(0, 10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scratch.write("a.arrow", torn())
    assert list(tmp_path.iterdir()) == []
    scratch.write("a.arrow", [numbers(0, 3)])
    with pytest.raises(KeyboardInterrupt):
        scratch.write("a.arrow", torn())
    assert [path.name for path in tmp_path.iterdir()] == ["a.arrow"]
    assert next(scratch.read("a.arrow")).num_rows == 3


def test_scratch_broken_off_write_on_s3_leaves_nothing(s3_store):
    def torn():
        yield numbers(0, 10)
        raise KeyboardInterrupt

    scratch = Scratch(s3_store, "folder/")
    with pytest.raises(KeyboardInterrupt):
        scratch.write("a.arrow", torn())
    assert list(s3_store.scan("")) == []


def test_scratch_on_a_full_disk_says_what_to_do(tmp_path):
    scratch = Scratch(Store(f"file://{tmp_path}"))
    sentence = rf"^no room to park rows in {tmp_path}: File too large; .* set TMPDIR to a folder of"
    with largest_file(1000), pytest.raises(StoreUnavailableError, match=sentence):
        scratch.write("a.arrow", [numbers(0, 10_000)])
    assert list(tmp_path.iterdir()) == []
    log = QuarantineLog(tmp_path / "rows.jsonl")
    with largest_file(1000), pytest.raises(StoreUnavailableError, match=sentence):
        log.add([Rejected("is null", "a.csv", row) for row in range(100)])


def test_python_source_on_a_full_disk_says_what_to_do(tmp_path):
    write_csv(
        tmp_path / "maker.py",
        "import pyarrow as pa\n\ndef rows():\n    yield pa.table({'y': list(range(10_000))})\n",
    )
    data = spec_for(tmp_path, "python", "maker.py:rows").data
    folder = tmp_path / "made"
    folder.mkdir()
    with largest_file(1000), pytest.raises(StoreUnavailableError, match=f"in {folder}: File too"):
        find_origin(data, base=tmp_path, folder=folder)
