"""What statistics cost: sketches of all columns against pyarrow's CSV to Parquet of the same rows.

Processor time of one thread, so that other work on the machine matters little. The rows go into one
sketch per shard, which are merged and described, as `prepare` does it.

    python benchmarks/statistics_cost.py [--rows 1000000] [--rounds 3]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from shardline.data.statistics.describe import describe
from shardline.data.statistics.table import TableSketch

ROWS_PER_SHARD = 280_000
NUM_COLUMNS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory() as folder:
        table = mixed_table(arguments.rows)
        source = Path(folder) / "rows.csv"
        pa.csv.write_csv(table, source)
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            theirs.append(cpu_s(lambda: converted(source, Path(folder) / "rows.parquet")))
            ours.append(cpu_s(lambda: described(table)))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        values = arguments.rows * NUM_COLUMNS
        print(f"pyarrow csv to parquet   {statistics.median(theirs):7.2f} s of one thread")
        print(
            f"statistics               {statistics.median(ours):7.2f} s, "
            f"{statistics.median(ours) / values * 1e9:.0f} ns a value, "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of it"
        )
        for name in ("float0", "int0", "int8", "word0", "id"):
            one = cpu_s(lambda name=name: described(table.select([name, "label"]), relate=False))
            label = cpu_s(lambda: described(table.select(["label"]), relate=False))
            print(f"  {name:<8}{(one - label) / arguments.rows * 1e9:8.0f} ns a value")


def mixed_table(rows: int) -> pa.Table:
    """Twenty-nine features of all kinds, and a label."""
    random = np.random.default_rng(0)
    words = np.array([f"word {i}" for i in range(500)])
    columns = {f"float{i}": random.normal(size=rows) for i in range(15)}
    columns |= {f"int{i}": random.integers(0, 10 ** (i + 1), rows) for i in range(9)}
    columns |= {f"word{i}": words[random.integers(0, 500, rows)] for i in range(4)}
    columns |= {"id": np.array([f"{i:09d}" for i in range(rows)])}
    return pa.table(columns | {"label": random.integers(0, 3, rows)})


def converted(source: Path, target: Path) -> None:
    options = pa.csv.ReadOptions(use_threads=False)
    pq.write_table(pa.csv.read_csv(source, read_options=options), target)


def described(table: pa.Table, *, relate: bool = True) -> None:
    whole = TableSketch(table.schema, expected_rows=table.num_rows)
    for start in range(0, table.num_rows, ROWS_PER_SHARD):
        shard = TableSketch(table.schema, expected_rows=table.num_rows)
        shard.add(table.slice(start, ROWS_PER_SHARD), first_row=start)
        whole.merge(shard)
    if relate:
        describe({"train": whole}, label="label")


def cpu_s(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
