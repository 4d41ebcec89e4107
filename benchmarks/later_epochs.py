"""Later epochs, in full random order from the machine's cache, against bare pyarrow decoding.

    python benchmarks/later_epochs.py [--rows 1000000] [--rounds 5] [--cores 1 2]

Images of 784 bytes and tables of 50 float32 columns, in shards as `prepare` writes them. The first
epoch has filled the cache; what is measured is the third and later ones, each in another order, one
worker. What pyarrow needs to decode the same rows once is what an epoch would cost without the
cache. Each side has a process pinned to the same cores, rounds alternate, all files are in the page
cache.
"""

import argparse
import tempfile
from pathlib import Path

from feeding import Case, Pinned, bare_decode, later_epoch, write_dataset
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
    ours.run(later_epoch, case, "tensors")  # fills the cache and warms up
    found = interleaved(
        rounds,
        {
            "tensors": lambda: ours.run(later_epoch, case, "tensors"),
            "numpy": lambda: ours.run(later_epoch, case, "numpy"),
            "decode": lambda: bare.run(bare_decode, case),
        },
        before=touch_memory,
    )
    ours.close()
    bare.close()
    print(f"{case.kind}, {case.cores} cores")
    show("later epoch into tensors", found["tensors"], "rows/s")
    show("later epoch into numpy", found["numpy"], "rows/s")
    show("bare pyarrow decode", found["decode"], "rows/s")
    show_ratio("tensors / decode", found["tensors"], found["decode"])
    show_ratio("numpy / decode", found["numpy"], found["decode"])


if __name__ == "__main__":
    main()
