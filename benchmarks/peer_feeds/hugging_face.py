"""Hugging Face `datasets`: from Parquet, and from the Arrow files that it keeps of them.

Taken in Arrow format, whose columns become numpy arrays without a copy: its own numpy format takes
four times as long, and `to_tf_dataset` a hundred times.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, disable_progress_bars, load_dataset

from peer_feeds import FEW_ROWS, SHUFFLE_BUFFER_ROWS, Epochs, RawRows

FILES = 16
GROUP_ROWS = 4096
CHUNK_ROWS = 1000  # what the library writes


def open_feed(raw: RawRows) -> Epochs:
    """Epochs from Parquet, and from Arrow in random order, by a buffer, and into tensors."""
    disable_progress_bars()
    features, labels = raw.arrays()
    parquet, arrow = raw.own_folder / "huggingface", raw.own_folder / "huggingface.arrow"
    if not arrow.exists():
        table = as_table(features, labels, has_columns=raw.kind == "columns")
        parquet.mkdir()
        for number, part in enumerate(np.array_split(np.arange(len(labels)), FILES)):
            name = parquet / f"{number:02d}.parquet"
            pq.write_table(table.slice(part[0], len(part)), name, row_group_size=GROUP_ROWS)
        with pa.OSFile(str(arrow), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=CHUNK_ROWS)
    files = sorted(map(str, parquet.glob("*.parquet")))
    kept = Dataset.from_file(str(arrow))

    def buffered(dataset: Any, epoch: int) -> Iterator[int]:
        shuffled = dataset.shuffle(seed=epoch, buffer_size=SHUFFLE_BUFFER_ROWS)
        for table in shuffled.with_format("arrow").iter(raw.batch, drop_last_batch=True):
            yield len(taken(table))

    def random_order(epoch: int) -> Iterator[int]:
        rows = np.random.default_rng(epoch).permutation(len(kept))
        tables = kept.with_format("arrow")
        for start in range(0, len(rows) - raw.batch + 1, raw.batch):
            yield len(taken(tables[rows[start : start + raw.batch]]))

    def tensors(_: int) -> Iterator[int]:
        few = kept.select(range(min(FEW_ROWS, len(kept)))).with_format("numpy")
        stream = few.to_tf_dataset(
            batch_size=raw.batch,
            shuffle=True,
            drop_remainder=True,
            columns=[name for name in few.column_names if name != "label"],
            label_cols="label",
        )
        for _, label in stream:
            yield len(label)

    return {
        "first: Parquet, streaming, buffer": lambda epoch: buffered(
            load_dataset("parquet", data_files=files, split="train", streaming=True), epoch
        ),
        "first and later: Arrow files, buffer": lambda epoch: buffered(
            kept.to_iterable_dataset(num_shards=FILES), epoch
        ),
        "first and later: Arrow files, random order": random_order,
        "first and later: Arrow files, to_tf_dataset": tensors,
    }


def as_table(features: Any, labels: Any, *, has_columns: bool) -> pa.Table:
    """The rows, their features as a column each or as a list in one."""
    if has_columns:
        named = {f"x{number}": column for number, column in enumerate(np.transpose(features))}
    else:
        values = pa.array(features.ravel())
        named = {"x": pa.FixedSizeListArray.from_arrays(values, features.shape[1])}
    return pa.table(named | {"label": np.array(labels)})


def taken(table: Any) -> Any:
    """The columns as numpy arrays, which is what a consumer needs; the labels."""
    for name in table.column_names:
        values = table[name].combine_chunks()
        if pa.types.is_fixed_size_list(values.type):
            values.flatten().to_numpy().reshape(table.num_rows, -1)
        else:
            values.to_numpy(zero_copy_only=False)
    return table["label"]
