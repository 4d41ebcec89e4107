"""A source ten times larger than what `prepare` may take passes, and is not held as a whole.

The cap is the kernel's: `RLIMIT_DATA` counts all memory that a process asks for, touched or not.
It is set to what a process has in which a small source was prepared, plus the allowance. To be done
in seconds, what bounds memory is scaled down with the source: with a 64 MB shard the allowance
would be some hundred megabytes for every processor, with one of 4 MB it is 24 MB for the one that
the process may use.
"""

import os
import resource
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

ALLOWANCE_BYTES = 24 << 20
NUM_ROWS = 32_000
NOTE_BYTES = 8_000
SMALL_STACKS = (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1])
# Arrow's own allocator reserves more than it uses; what is freed goes back at once.
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TRIM_THRESHOLD_": "1048576",
    "OPENBLAS_NUM_THREADS": "1",
}
PROGRAM = """
import os, resource, sys, threading, time
from pathlib import Path

os.cpu_count = lambda: 1
threading.stack_size(1 << 20)
import pyarrow as pa
import pyarrow.csv
pa.set_cpu_count(1)
pa.set_io_thread_count(1)
from shardline.data import csv_blocks, csv_rows, dealing, prepare
from shardline.data.shards import ShardSize
from shardline.progress import SilentProgress
from shardline.spec.loading import check_spec
from shardline.store import Store

folder, way, allowance = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
csv_rows.BLOCK_BYTES = csv_blocks.LINES_BYTES = 1 << 20
dealing.RUN_BYTES = 4 << 20

def prepared(source):
    cleaning = {
        "a": {"missing": {"by": "median"}, "outliers": {"by": "quantile", "then": "clip"}},
        "b": {"missing": {"by": "mean"}},
    }
    values = {"name": "m", "store": str(folder / source) + ".store",
              "data": {"source": {"format": "csv", "path": source}, "label": {"name": "y"},
                       "split": {"by": "hash", "fractions": {"train": 0.8, "test": 0.2}},
                       "cleaning": cleaning, "keep": ["note"]},
              "model": {"builder": "model:build"}}
    spec = check_spec(values, where="test").located_at(folder)
    return prepare.prepare_dataset(
        spec, store=Store(spec.store), clock=time.time, progress=SilentProgress(),
        size=ShardSize(target_bytes=4 << 20, group_bytes=1 << 20),
    )

def held(source):
    with pa.CompressedInputStream(str(folder / source), "zstd") as stream:
        return pyarrow.csv.read_csv(stream)

prepared("small.csv.zst")
held("small.csv.zst")
status = Path("/proc/self/status").read_text()
now = int(status.partition("VmData:")[2].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (now + allowance,) * 2)
if way == "held":
    print(held("large.csv.zst").num_rows)
else:
    print(prepared("large.csv.zst").rows_kept)
"""


def write(file, num_rows):
    """Some numbers and a long text that nobody learns from; returns the unpacked size."""
    random = np.random.default_rng(0)
    note = "n" * NOTE_BYTES
    size = 0
    with pa.CompressedOutputStream(str(file), "zstd") as stream:
        size += stream.write(b"a,b,y,note\n")
        for number in range(num_rows):
            a, b = random.random(2).round(6)
            shown = "" if number % 10 == 0 else a
            size += stream.write(f"{shown},{b},{number % 2},{note}\n".encode())
    return size


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    write(folder / "small.csv.zst", 1000)
    assert write(folder / "large.csv.zst", NUM_ROWS) > 10 * ALLOWANCE_BYTES
    return folder


def run_within(allowance, folder, way):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), way, str(allowance)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ENVIRONMENT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, SMALL_STACKS),
    )


def test_prepare_takes_a_tenth_of_its_source(sources):
    done = run_within(ALLOWANCE_BYTES, sources, "prepared")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(NUM_ROWS)]


def test_source_held_as_a_table_does_not_fit(sources):
    """The cap holds: so much as half of the source is more than there is."""
    done = run_within(5 * ALLOWANCE_BYTES, sources, "held")
    assert done.returncode != 0
    assert "MemoryError" in done.stderr or "Out of memory" in done.stderr
