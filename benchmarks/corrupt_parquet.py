"""What becomes of Parquet files with a byte changed: refused, read right, or wrong without a word.

    python benchmarks/corrupt_parquet.py [--flips 10000] [--seed 0] [--prepare]

Every flip is a file of its own, written with page checksums by pyarrow, in one byte of which
another value stands at random. It is read as `prepare` reads it (with `--prepare` a whole dataset
is made of it), in child processes of some hundred flips each, so that a crash is seen and counted.
Flips are told apart by where they are: bytes of pages, which checksums cover, and all others, which
none does (the headers of pages and the footer). The first must never give a wrong row.
"""

import argparse
import io
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shardline.data.page_headers import page_fields
from shardline.data.readers import read_tables
from shardline.data.sources import list_source
from shardline.errors import InputError
from shardline.line import prepare
from shardline.spec import Spec, check_spec

ROWS = 400
FLIPS_PER_CHILD = 250
KINDS = ("zstd", "snappy", "gzip", "none", "none, no dictionaries")
# Fields of a page's header.
PAGE_BYTES, CHECKSUM = 3, 4


def main() -> int:
    """Print how many flips ended how; 1 if one crashed or gave wrong rows past a checksum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        outcomes = flipped(options.flips, options.seed, is_whole=options.prepare)
        print("\n".join(f"{number}\t{name}" for name, number in outcomes.items()))
        return 0
    outcomes = Counter[str]()
    for start in range(0, options.flips, FLIPS_PER_CHILD):
        number = min(FLIPS_PER_CHILD, options.flips - start)
        flags = ["--prepare"] if options.prepare else []
        command = [sys.executable, __file__, "--child", *flags]
        seed = f"--seed={options.seed + start}"
        child = subprocess.run(
            [*command, f"--flips={number}", seed], capture_output=True, text=True, check=False
        )
        if child.returncode:
            outcomes[f"CRASH of a child, exit code {child.returncode}, {seed}"] += 1
            print(child.stderr[-2000:], file=sys.stderr)
        for line in child.stdout.splitlines():
            count, _, name = line.partition("\t")
            outcomes[name] += int(count)
    for name, number in sorted(outcomes.items()):
        print(f"{number:7} {name}")
    return int(any(name.startswith(("CRASH", "WRONG")) for name in outcomes))


def flipped(flips: int, seed: int, *, is_whole: bool) -> Counter[str]:
    """How so many flips ended."""
    chance = random.Random(seed)
    expected = table()
    files = {kind: parquet(expected, kind) for kind in KINDS}
    covered = {kind: pages(data) for kind, data in files.items()}
    outcomes = Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(flips):
            kind = KINDS[number % len(KINDS)]
            place = chance.randrange(len(files[kind]))
            damaged = bytearray(files[kind])
            damaged[place] ^= chance.randrange(1, 256)
            found = outcome(Path(folder), number, bytes(damaged), expected, is_whole=is_whole)
            where = "in a page" if covered[kind][place] else "in what no checksum covers"
            is_lost = found.startswith("other rows") and covered[kind][place]
            outcomes[f"{'WRONG: ' if is_lost else ''}{found}, {where}"] += 1
    return outcomes


def outcome(folder: Path, number: int, data: bytes, expected: pa.Table, *, is_whole: bool) -> str:
    """What reading the file comes to."""
    (folder / "raw.parquet").write_bytes(data)
    try:
        if is_whole:
            done = prepare(spec(folder, f"store-{number}"))
            counts = (done.rows_read, done.rows_kept)
            return "prepared" if counts == (ROWS, ROWS) else "other rows"
        source = spec(folder, "store").data.source
        batches = read_tables(list_source(source, base=folder), source, [], everything=True)
        tables = [batch.table for batch in batches if batch.table.num_rows]
    except InputError:
        return "refused with a sentence"
    except Exception as error:  # noqa: BLE001  # what is looked for
        return f"WRONG: {type(error).__name__}: {error}"
    found = pa.concat_tables(tables) if tables else pa.table({})
    same = set(expected.column_names) <= set(found.column_names)
    return (
        "right" if same and found.select(expected.column_names).equals(expected) else "other rows"
    )


def spec(folder: Path, store: str) -> Spec:
    """Of the one file."""
    values = {
        "name": "flipped",
        "store": str(folder / store),
        "data": {
            "source": {"format": "parquet", "path": "raw.parquet"},
            "features": {"n": {"dtype": "int32"}, "t": {"dtype": "string"}},
            "label": {"name": "y", "dtype": "float32"},
            "reuse": False,
        },
        "model": {"builder": "model:build"},
    }
    return check_spec(values, where="spec").located_at(folder)


def table() -> pa.Table:
    """Numbers, text, lists and nulls."""
    number = np.arange(ROWS)
    return pa.table(
        {
            "n": pa.array(number, pa.int32()),
            "t": pa.array([f"text {i % 7}" for i in range(ROWS)]),
            "l": pa.array([[i, i + 1] for i in range(ROWS)], pa.list_(pa.int16())),
            "o": pa.array([i if i % 3 else None for i in range(ROWS)], pa.int64()),
            "y": pa.array(number / 8, pa.float32()),
        }
    )


def parquet(rows: pa.Table, kind: str) -> bytes:
    """A file of three row groups."""
    compression, _, plain = kind.partition(",")
    sink = io.BytesIO()
    pq.write_table(
        rows,
        sink,
        row_group_size=150,
        compression=compression,
        use_dictionary=not plain,
        write_page_checksum=True,
    )
    return sink.getvalue()


def pages(data: bytes) -> "np.ndarray":
    """Which bytes lie in pages, bool [bytes]."""
    covered = np.zeros(len(data), bool)
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            first = column.dictionary_page_offset or column.data_page_offset
            place, end = first, first + column.total_compressed_size
            while place < end:
                header, place = page_fields(memoryview(data), place)
                size = header[PAGE_BYTES]
                if CHECKSUM not in header or not isinstance(size, int):
                    raise ValueError("a page without a checksum or a size")
                covered[place : place + size] = True
                place += size
    return covered


if __name__ == "__main__":
    sys.exit(main())
