"""Other input pipelines over the same rows, one module each; `peer_feed.py` runs them.

Each module has `open_feed(raw)`, which converts the rows where that is not done yet, and returns by
name what an epoch can be: a function of the epoch's number that iterates over it in shuffled order
and yields how many rows each batch has. Settings were chosen by
short trials on a busy machine, not tuned.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Epochs = dict[str, Callable[[int], Iterator[int]]]
"""What an epoch can be: rows of every batch, by the epoch's number."""

# Where Python touches every row, an epoch of all rows takes minutes and has the same speed.
FEW_ROWS = 40_000
SHUFFLE_BUFFER_ROWS = 8192


@dataclass(frozen=True)
class RawRows:
    """The rows, as two arrays on disk, and a folder to convert them into."""

    folder: Path
    kind: str
    batch: int
    cores: int

    @property
    def own_folder(self) -> Path:
        """For files of these rows."""
        made = self.folder / "peers" / self.kind
        made.mkdir(parents=True, exist_ok=True)
        return made

    @property
    def shards(self) -> list[str]:
        """The Parquet files that shardline reads."""
        found = self.folder.glob(f"datasets/{self.kind}/v1/train/*.parquet")
        return sorted(map(str, found))

    def arrays(self, rows: int | None = None) -> tuple[np.ndarray[Any, Any], Any]:
        """Features of shape (rows, values of a row), and labels of shape (rows,)."""
        features = np.load(self.folder / f"{self.kind}.npy", mmap_mode="r")[:rows]
        labels = np.load(self.folder / f"{self.kind}-labels.npy", mmap_mode="r")[:rows]
        return features.reshape(len(features), -1), labels

    def records(self, rows: int | None = None) -> np.ndarray[Any, Any]:
        """The same as one array of records `x` and `label`."""
        features, labels = self.arrays(rows)
        kind = np.dtype([("x", features.dtype, features.shape[1:]), ("label", "<i8")])
        found = np.empty(len(features), kind)
        found["x"], found["label"] = features, labels
        return found
