"""What the training benchmarks share: data, specs, processes started by hand, and figures."""

import multiprocessing
import os
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import shardline
from shardline.data.manifest import load_dataset
from shardline.model.code import collect_code
from shardline.spec.loading import check_spec
from shardline.store import open_store

HERE = Path(__file__).resolve().parent
WARM_BYTES = 512 << 20
FREE_BYTES = 1 << 28


def image_line(folder: Path, *, rows: int = 4096, store: str | None = None) -> dict[str, Any]:
    """Write random 28 x 28 images as Parquet, prepare them, and return the spec as plain values."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (rows, 28, 28, 1)).astype(np.uint8)
    table = pa.table(
        {
            "image": pa.FixedShapeTensorArray.from_numpy_ndarray(images),
            "label": random.integers(0, 10, rows),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "rows.parquet", row_group_size=1024)
    values: dict[str, Any] = {
        "name": "bench",
        "store": store or f"file://{folder}/store",
        "data": {
            "source": {"format": "parquet", "path": str(folder / "rows.parquet")},
            "features": {"image": {"dtype": "uint8", "shape": [28, 28, 1]}},
            "label": {"name": "label"},
        },
        "model": {"builder": "models:mlp"},
        "train": {"checkpoint": {"every_steps": 1_000_000}},
    }
    shardline.prepare(spec_of(values))
    return values


def spec_of(
    values: dict[str, Any], *, builder: str | None = None, params: Any = None, **train: Any
) -> shardline.Spec:
    """The line with another model or other `train` values."""
    model = {"builder": builder or values["model"]["builder"], "params": params or {}}
    merged = values | {"model": model, "train": values["train"] | train}
    return check_spec(merged, where="benchmark").located_at(HERE)


def stamped(folder: Path) -> list[dict[str, str]]:
    """The `train.callbacks` that note every step's end in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return [{"name": "models:Stamps", "folder": str(folder)}]


def read_stamps(folder: Path) -> list[np.ndarray]:
    """The times noted by each process."""
    return [np.frombuffer(path.read_bytes(), "<f8") for path in sorted(folder.glob("*.stamps"))]


def typical_step_s(folder: Path, *, skip: int) -> float:
    """Median time between the ends of two steps, of the slowest process.

    On a machine that others use, a burst of theirs holds up every worker of one model but only one
    of two jobs; the median leaves bursts out, and keeps what every step costs.
    """
    return max(float(np.median(np.diff(times[skip:]))) for times in read_stamps(folder))


class HandStarted:
    """Two plain processes that train without Ray, one after the other as often as asked."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pools = [ProcessPoolExecutor(1, mp_context=context) for _ in range(2)]

    def together(self, spec: shardline.Spec) -> None:
        """Train one model on both, connected by the ring."""
        listening = [pool.submit(listen) for pool in self._pools]
        addresses = [future.result() for future in listening]
        token = secrets.token_bytes(32)
        self._wait(
            pool.submit(train_joined, spec, rank, addresses, token)
            for rank, pool in enumerate(self._pools)
        )

    def apart(self, specs: Sequence[shardline.Spec]) -> None:
        """Train a model on each at the same time, with no exchange."""
        self._wait(
            pool.submit(train_apart, spec) for pool, spec in zip(self._pools, specs, strict=True)
        )

    def close(self) -> None:
        """End both."""
        for pool in self._pools:
            pool.shutdown()

    @staticmethod
    def _wait(futures: Iterator[Any]) -> None:
        for future in list(futures):
            future.result()


@contextmanager
def hand_started() -> Iterator[HandStarted]:
    """Two processes for the length of the block."""
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    processes = HandStarted()
    try:
        yield processes
    finally:
        processes.close()


def interleaved(
    rounds: int,
    cases: dict[str, Callable[[], float]],
    *,
    before: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Measure all cases in turn, every other round backwards, so that drift hits all alike.

    Args:
        rounds: How often.
        cases: Each returns its figure.
        before: Runs before each of them.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        names = list(cases) if number % 2 == 0 else list(reversed(cases))
        for name in names:
            before()
            began_s = time.monotonic()
            found[name].append(cases[name]())
            took_s = time.monotonic() - began_s
            print(
                f"  round {number + 1}: {name} {found[name][-1]:.4g} ({took_s:.0f} s)", flush=True
            )
    return found


def touch_memory() -> None:
    """Have half a gigabyte of memory that the machine need not ask its host for.

    A virtual machine that reports free pages (Linux `page_reporting`) loses what it has not used
    for two seconds, and pays 8 us for each 4 KB that it uses again: a first epoch of 157 MB took
    0.77 s of processors after eight idle seconds, and 0.45 s right after another one. Programs on
    hardware of their own pay nothing of that, and short cases pay for what ran before them.
    """
    np.ones(WARM_BYTES, np.uint8)


def fill_page_cache(file: Path) -> None:
    """Leave little memory free, as on a machine that has run for a while.

    New pages are then taken from the ones that nobody has read for longest, which a virtual machine
    need not ask its host for. The file has no blocks on disk, and grows by what is free.
    """
    file.touch()
    begin = file.stat().st_size
    free_kb = int(Path("/proc/meminfo").read_text().split("MemFree:")[1].split()[0])
    os.truncate(file, begin + max(0, free_kb * 1024 - FREE_BYTES))
    piece = bytearray(1 << 20)
    with file.open("rb", buffering=0) as sparse:
        sparse.seek(begin)
        while sparse.readinto(piece):
            pass


def show(name: str, values: Sequence[float], unit: str) -> None:
    """Print a median with its spread."""
    middle = statistics.median(values)
    print(f"{name:40s} {middle:10.4g} {unit} ({min(values):.4g} to {max(values):.4g})")


def show_ratio(name: str, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Print the median of the rounds' ratios with its spread."""
    show(name, [a / b for a, b in zip(ours, theirs, strict=True)], "x")


_listeners: list[Any] = []


def listen() -> list[tuple[str, int]]:
    """Open a port for the training thread's ring and one for the background thread's."""
    from shardline.training.exchange.ring import Listener

    _listeners[:] = [Listener("127.0.0.1") for _ in range(2)]
    return [listener.address for listener in _listeners]


def train_joined(
    spec: shardline.Spec, rank: int, addresses: list[list[tuple[str, int]]], token: bytes
) -> None:
    from shardline.training.exchange.peers import join
    from shardline.training.exchange.ring import TcpRing

    rings = [
        TcpRing(rank, addresses=list(of_ring), listener=listener, token=token)
        for of_ring, listener in zip(zip(*addresses, strict=True), _listeners, strict=True)
    ]
    join(*rings)
    train_alone(spec)


def train_apart(spec: shardline.Spec) -> None:
    from shardline.training.exchange.peers import leave

    leave()  # the ring of an earlier case
    train_alone(spec)


def train_alone(spec: shardline.Spec) -> None:
    from shardline.training.task import WorkerTask
    from shardline.training.worker import train_worker

    dataset = load_dataset(open_store(spec.store), spec.name)
    outcome = train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))})
    if outcome.refusal is not None:
        raise outcome.refusal
