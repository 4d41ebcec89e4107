"""`prepare` of a wide CSV file against one process with `pyarrow.csv` and `pq.write_table`.

    python benchmarks/prepare.py [--rows 5000000] [--columns 30] [--rounds 3]

Both read the same file and write Parquet; ours also types every value, hashes and shuffles the
rows, keeps what it cannot use, and finds out what models need (`data.statistics: basic`) or
sketches every column (`full`). Each runs in a process of its own; libraries are imported before the
clock starts. Processor time is what counts, as both use all cores at times. Then half the rows:
time and memory. The limit is a source that is parsed and nothing else.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from rig import interleaved, show, show_ratio

CHUNK_ROWS = 250_000
OURS = """
import json, resource, sys, time
from pathlib import Path
from shardline.data.prepare import prepare_dataset
from shardline.progress import SilentProgress
from shardline.spec.loading import check_spec
from shardline.store import Store
import pandas, pyarrow.csv, pyarrow.parquet, tempfile  # pyarrow would import pandas later
file, statistics = Path(sys.argv[1]), sys.argv[2]
with tempfile.TemporaryDirectory(dir=file.parent) as folder:
    values = {"name": "bench", "store": folder,
              "data": {"source": {"format": "csv", "path": str(file)}, "label": {"name": "y"},
                       "statistics": statistics},
              "model": {"builder": "model:build"}}
    spec = check_spec(values, where="benchmark").located_at(file.parent)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    result = prepare_dataset(spec, store=Store(spec.store), clock=time.time,
                             progress=SilentProgress())
    assert result.rows_quarantined == 0
"""
PEER = """
import json, resource, sys, time
import pyarrow.csv, pyarrow.parquet
before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
pyarrow.parquet.write_table(pyarrow.csv.read_csv(sys.argv[1]), sys.argv[1] + ".parquet")
"""
LIMIT = """
import json, resource, sys, time
import pyarrow.csv
before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
assert sum(batch.num_rows for batch in pyarrow.csv.open_csv(sys.argv[1])) > 0
"""
REPORT = """
wall = time.perf_counter() - began
usage = resource.getrusage(resource.RUSAGE_SELF)
cpu = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps([wall, cpu, usage.ru_maxrss / 1024]))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        whole, half = Path(scratch, "whole.csv"), Path(scratch, "half.csv")
        write_csv(whole, rows=options.rows, columns=options.columns)
        write_csv(half, rows=options.rows // 2, columns=options.columns)
        memory: dict[str, float] = {}
        walls: dict[str, list[float]] = {}

        def measured(name: str, code: str, file: Path, statistics: str = "") -> float:
            command = [sys.executable, "-c", code + REPORT, str(file), statistics]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            wall_s, cpu_s, memory[name] = json.loads(done.stdout)
            walls.setdefault(name, []).append(wall_s)
            print(f"  {name}: {wall_s:.1f} s, {cpu_s:.1f} s of processors, {memory[name]:.0f} MB")
            return float(cpu_s)

        figures = interleaved(
            options.rounds,
            {
                "basic": lambda: measured("basic", OURS, whole, "basic"),
                "basic, half the rows": lambda: measured(
                    "basic, half the rows", OURS, half, "basic"
                ),
                "pyarrow": lambda: measured("pyarrow", PEER, whole),
                "full": lambda: measured("full", OURS, whole, "full"),
                "full, half the rows": lambda: measured("full, half the rows", OURS, half, "full"),
                "only parsed": lambda: measured("only parsed", LIMIT, whole),
            },
        )
    for name, values in figures.items():
        show(f"processor time, {name}", values, unit="s")
        show(f"wall time, {name}", walls[name], unit="s")
    for name in ("basic", "full"):
        half_name = f"{name}, half the rows"
        show_ratio(f"{name}: as fast per core as pyarrow", figures["pyarrow"], figures[name])
        show_ratio(f"{name}: as fast as pyarrow", walls["pyarrow"], walls[name])
        show_ratio(f"{name}: processor time for twice the rows", figures[name], figures[half_name])
        show_ratio(f"{name}: wall time for twice the rows", walls[name], walls[half_name])
        grown = memory[name] / memory[half_name]
        print(f"{name}: {memory[name]:.0f} MB, for twice the rows {grown:.2f} x")


def write_csv(file: Path, *, rows: int, columns: int) -> None:
    """Two thirds decimals, one third whole numbers, and a label of two classes."""
    random = np.random.default_rng(0)
    with file.open("wb") as stream:
        for start in range(0, rows, CHUNK_ROWS):
            count = min(CHUNK_ROWS, rows - start)
            table = pa.table(
                {f"c{i}": _column(random, i, count) for i in range(columns - 1)}
                | {"y": random.integers(0, 2, count)}
            )
            header = pyarrow.csv.WriteOptions(include_header=start == 0)
            pyarrow.csv.write_csv(table, stream, header)


def _column(random: np.random.Generator, place: int, count: int) -> np.ndarray:
    if place % 3 == 2:
        return random.integers(0, 100_000, count)
    return np.round(random.normal(size=count), 6)


if __name__ == "__main__":
    main()
