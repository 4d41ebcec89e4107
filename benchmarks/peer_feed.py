"""A process in which another input pipeline runs epochs, as `data_peers.py` asks for them.

    python benchmarks/peer_feed.py MODULE FOLDER KIND BATCH CORES

Prints a JSON list of what it can measure, then rows per second for every name read, JSON a line.
"""

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from peer_feeds import RawRows

# The rate of an epoch that takes longer is that of its beginning.
LONGEST_S = 12.0


def main() -> None:
    """Serve."""
    module, folder, kind, batch, cores = sys.argv[1:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    # Libraries print what they like; answers have a way of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    raw = RawRows(Path(folder), kind, int(batch), int(cores))
    epochs = importlib.import_module(f"peer_feeds.{module}").open_feed(raw)
    print(json.dumps(list(epochs)), file=answers)
    for number, line in enumerate(sys.stdin):
        print(json.dumps(rows_per_s(epochs[json.loads(line)], number)), file=answers)


def rows_per_s(epoch: Callable[[int], Iterator[int]], number: int) -> float:
    began_s, rows = time.perf_counter(), 0
    batches = epoch(number)
    for of_batch in batches:
        rows += of_batch
        if time.perf_counter() - began_s > LONGEST_S:
            break
    rate = rows / (time.perf_counter() - began_s)
    del batches
    gc.collect()  # worker processes end with their iterator
    return rate


if __name__ == "__main__":
    main()
