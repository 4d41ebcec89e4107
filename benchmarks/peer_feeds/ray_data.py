"""Ray Data over shardline's own Parquet files: `iter_tf_batches`, streamed and materialized."""

import logging
from collections.abc import Iterator
from typing import Any

import ray
import ray.data

from peer_feeds import Epochs, RawRows

# No smaller than a row group. Neither this nor the number of prefetched batches has been tuned.
BUFFER_ROWS = 4096
PREFETCHED_BATCHES = 8


def open_feed(raw: RawRows) -> Epochs:
    """Epochs from the files, with and without a shuffle of rows, and of blocks in memory."""
    ray.init(
        num_cpus=raw.cores,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    kept: list[Any] = []

    def read(seed: int) -> Any:
        shuffled = ray.data.FileShuffleConfig(seed=seed)
        return ray.data.read_parquet(raw.shards, shuffle=shuffled)

    def batches(dataset: Any, buffer_rows: int | None) -> Iterator[int]:
        found = dataset.iter_tf_batches(
            batch_size=raw.batch,
            drop_last=True,
            prefetch_batches=PREFETCHED_BATCHES,
            local_shuffle_buffer_size=buffer_rows,
        )
        for batch in found:
            yield len(batch["label"])

    def in_store(epoch: int) -> Any:
        if not kept:
            kept.append(read(0).materialize())
        return kept[0].randomize_block_order(seed=epoch)

    in_store(0)
    return {
        "first: from files, buffer": lambda epoch: batches(read(epoch), BUFFER_ROWS),
        "first: from files, files shuffled only": lambda epoch: batches(read(epoch), None),
        "later: materialized, buffer": lambda epoch: batches(in_store(epoch), BUFFER_ROWS),
    }
