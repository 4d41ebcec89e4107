"""First shuffled epoch from Parquet into tensors, against bare pyarrow decoding of the same files.

    python benchmarks/first_epoch.py [--rows 1000000] [--rounds 5] [--cores 1 2]

Images of 784 bytes and tables of 50 float32 columns, in shards as `prepare` writes them. Ours reads
in window form into `tf.data` and fills the machine's cache on the way, from empty. The limit is
pyarrow alone: every row group once, in order, into numpy arrays, on as many threads as there are
cores. Each side has a process pinned to the same cores, rounds alternate, files are in the
page cache.
"""

import argparse
import tempfile
from pathlib import Path

from feeding import Case, Pinned, bare_decode, first_epoch, write_dataset
from rig import interleaved, show, show_ratio, touch_memory


def main() -> None:
    """Measure and print every kind of rows on every number of cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="of 50 columns; images: a fifth"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("images", "columns"):
            rows = options.rows // 5 if kind == "images" else options.rows
            write_dataset(Path(folder), kind, rows)
            for cores in options.cores:
                measure(Case(folder, kind, cores), options.rounds)


def measure(case: Case, rounds: int) -> None:
    """One table."""
    ours, bare = Pinned(case.cores), Pinned(case.cores)
    ours.run(first_epoch, case, "tensors")  # warms up
    found = interleaved(
        rounds,
        {
            "tensors": lambda: ours.run(first_epoch, case, "tensors"),
            "numpy": lambda: ours.run(first_epoch, case, "numpy"),
            "limit": lambda: bare.run(bare_decode, case),
        },
        before=touch_memory,
    )
    ours.close()
    bare.close()
    print(f"{case.kind}, {case.cores} cores")
    show("first epoch into tensors", found["tensors"], "rows/s")
    show("first epoch into numpy", found["numpy"], "rows/s")
    show("limit: bare pyarrow decode", found["limit"], "rows/s")
    show_ratio("tensors / limit", found["tensors"], found["limit"])
    show_ratio("numpy / limit", found["numpy"], found["limit"])


if __name__ == "__main__":
    main()
