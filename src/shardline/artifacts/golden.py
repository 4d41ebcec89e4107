"""The rows that an export is tried with: which are read, and on which answers must agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np

from shardline.artifacts.evaluation import held_out_split
from shardline.data.batches import read_block
from shardline.data.manifest import DatasetManifest
from shardline.data.schema import Column
from shardline.spec.data import SplitName
from shardline.store import Store

MAX_ROWS = 2048
MAX_BYTES = 64 << 20
MAX_GOLDEN_ROWS = 64
MAX_TELLING_ROWS = 48
MAX_FEW_VALUES = 16

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TrialRows:
    """The first held-out rows of a dataset; where they are few, train rows after them."""

    columns: Mapping[str, Array]
    """Features and label: (rows, *shape), (rows, 1) for scalars."""
    num_held_out: int


def read_trial_rows(store: Store, dataset: DatasetManifest, inputs: Sequence[Column]) -> TrialRows:
    """At least one row, at most `MAX_ROWS` or what `MAX_BYTES` hold.

    Args:
        store: Where the dataset lives.
        dataset: What to read.
        inputs: What the model takes; features that these indicate are read as well.
    """
    schema = dataset.columns
    wanted = {column.name: column for column in (*inputs, schema.label)}
    for name in [column.indicates for column in inputs if column.indicates]:
        wanted.setdefault(name, schema.feature(name))
    columns = list(wanted.values())
    row_bytes = sum(column.num_bytes for column in columns)
    most = max(1, min(MAX_ROWS, MAX_BYTES // max(row_bytes, 1)))
    split = held_out_split(dataset)
    held_out = min(most, dataset.split(split).rows) if split else 0
    train = min(dataset.split("train").rows, max(0, min(most, MAX_GOLDEN_ROWS) - held_out))
    read: dict[SplitName, int] = {"train": train}
    if split:
        read = {split: held_out, "train": train}
    blocks = [
        read_block(store, dataset, name, rows=(0, rows), columns=columns).columns
        for name, rows in read.items()
        if rows
    ]
    joined = {name: np.concatenate([block[name] for block in blocks]) for name in wanted}
    return TrialRows(columns=joined, num_held_out=held_out)


def golden_rows(columns: Mapping[str, Array], *, most: int = MAX_GOLDEN_ROWS) -> list[int]:
    """Rows that tell the most, then the first ones, in ascending order.

    Of a column with few values each value's first row; of others the lowest and highest number, of
    tensors that of an element, and the shortest and longest text. Columns take turns, so that what
    a column has to tell is left out only where columns are many.

    Args:
        columns: (rows, …) by name.
        most: How many rows to take.
    """
    telling = [_telling_rows(array) for array in columns.values() if array.size]
    in_turns = dict.fromkeys(row for row in chain(*zip_longest(*telling)) if row is not None)
    num_telling = most * MAX_TELLING_ROWS // MAX_GOLDEN_ROWS
    num_rows = min((len(array) for array in columns.values()), default=0)
    chosen = dict.fromkeys(chain(islice(in_turns, num_telling), range(num_rows)))
    return sorted(islice(chosen, most))


def _telling_rows(array: Array) -> list[int]:
    rows = array.reshape(len(array), -1)
    if rows.shape[1] == 1 and rows.dtype.kind != "f":
        values, first = np.unique(rows[:, 0], return_index=True)
        if len(values) <= MAX_FEW_VALUES:
            return [int(row) for row in first]
    if rows.dtype.kind == "O":
        rows = np.vectorize(lambda text: len(str(text).encode()), otypes=[np.int64])(rows)
    return [int(rows.min(axis=1).argmin()), int(rows.max(axis=1).argmax())]
