"""Shuffled epochs of other input pipelines and ours over the same rows, in one interleaved run.

    python benchmarks/data_peers.py [--rows 1000000] [--rounds 3] [--kinds images vectors columns]
        [--peers tfrecord ray_data hugging_face grain_records mosaic litdata_chunks]

Images of 784 bytes, vectors of 50 float32 and tables of 50 float32 columns. Ours reads the Parquet
of `prepare` and fills the machine's cache in the first epoch; later ones are in full random order.
Peers that have a format of their own get rows that were converted beforehand, uncompressed, and
take no part in tables; Ray Data reads our Parquet. All files are in the page cache, every side has
a process pinned to the same two cores. "Buffer" is a shuffle buffer of 8,192 rows (Ray Data:
4,096), which shuffles less than either of our forms (`shuffle_quality.py`). Those that touch every
row in Python have 40 k rows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from feeding import KINDS, Case, Pinned, first_epoch, later_epoch, write_dataset
from peers import peer_environment, peer_python
from rig import HERE, interleaved, show, show_ratio, touch_memory

CORES = 2
PEERS = {
    "tfrecord": None,
    "ray_data": None,
    "hugging_face": "datasets",
    "grain_records": "grain",
    "mosaic": "torch",
    "litdata_chunks": "torch",
}
"""Modules of `peer_feeds`, and the environment each runs in; None is the project's own."""
READING_TABLES = ("ray_data", "hugging_face")
"""Those whose rows have columns. Others would have to be given 50 fields."""
TENSORS = ("tfrecord", "ray_data", "to_tf_dataset")
"""What of them yields TensorFlow's tensors."""


def main() -> None:
    """Measure and print every kind of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of 50 values; images: a fifth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    options = parser.parse_args()
    for kind in options.kinds:
        rows = options.rows // 5 if kind == "images" else options.rows
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_dataset(folder, kind, rows)
            write_raw(folder, kind, rows)
            able = [p for p in options.peers if kind != "columns" or p in READING_TABLES]
            peers = [PeerFeed(peer, folder, kind) for peer in able]
            try:
                measure(Case(name, kind, CORES), peers, options.rounds)
            finally:
                for peer in peers:
                    peer.close()


def write_raw(folder: Path, kind: str, rows: int) -> None:
    """Rows of the same size as two arrays."""
    random = np.random.default_rng(0)
    if kind == "images":
        features = random.integers(0, 256, (rows, 784), np.uint8)
    else:
        features = random.standard_normal((rows, 50), np.float32)
    np.save(folder / f"{kind}.npy", features)
    np.save(folder / f"{kind}-labels.npy", random.integers(0, 10, rows))


class PeerFeed:
    """The process of a peer, which has converted the rows."""

    def __init__(self, peer: str, folder: Path, kind: str) -> None:
        environment = PEERS[peer]
        python = peer_python(environment) if environment else sys.executable
        arguments = [peer, str(folder), kind, str(KINDS[kind][1]), str(CORES)]
        self.peer = peer
        self._log = folder / f"{peer}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / "peer_feed.py"), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=peer_environment(),
            )
        self.names: list[str] = self._answer()
        """What it can measure."""

    def run(self, name: str) -> float:
        """Rows per second of an epoch."""
        questions = cast(IO[str], self._process.stdin)
        questions.write(json.dumps(name) + "\n")
        questions.flush()
        return float(self._answer())

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def _answer(self) -> Any:
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"{self.peer} ended: {self._log.read_text()[-4000:]}")
        return json.loads(line)


def measure(case: Case, peers: list[PeerFeed], rounds: int) -> None:
    """One table."""
    ours = Pinned(case.cores)
    cases: dict[str, Callable[[], float]] = {
        f"{which}, {into}": partial(ours.run, function, case, into)
        for which, function in (("first", first_epoch), ("later", later_epoch))
        for into in ("tensors", "numpy")
    }
    of_peers: dict[str, Callable[[], float]] = {
        f"{peer.peer}, {name}": partial(peer.run, name) for peer in peers for name in peer.names
    }
    for run in [*cases.values(), *of_peers.values()]:
        run()  # warms up, fills what is kept
    found = interleaved(rounds, cases | of_peers, before=touch_memory)
    ours.close()
    print(f"{case.kind}, {case.cores} cores")
    for name, values in found.items():
        show(name, values, "rows/s")
    for name in of_peers:
        into = "tensors" if any(word in name for word in TENSORS) else "numpy"
        for which in ("first", "later"):
            if which in name:
                show_ratio(f"ours {which} / {name}", found[f"{which}, {into}"], found[name])


if __name__ == "__main__":
    main()
