"""How well rows are mixed: both forms of the order beside a full shuffle and shuffle buffers.

    python benchmarks/shuffle_quality.py [--rows 1000000] [--batch 256]

Rows count from 0 as they lie in the shards, as if those were sorted by time. Three figures, each
with what independent uniform batches have:

- displacement: how far rows come from where they lie, as a share of all rows (0.333);
- spread: deviation of the row numbers inside a batch, against that of all rows (1);
- drift: correlation of a batch's mean row number with that of the next batch (0).

The buffers are `tf.data`'s `shuffle`, in numpy: of 10,000 rows, and of as many rows as all lanes'
windows. `prepare` deals rows to shards by a hash, so that what is left in the shards is no order of
time; the figures say what the order alone does.
"""

import argparse
from collections.abc import Callable

import numpy as np

from shardline.data.order import Order
from shardline.data.windows import WindowForm

ROWS_PER_GROUP = 4096
LANES = 16


def main() -> None:
    """Print the figures of every kind of shuffle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    num_rows, batch = options.rows, options.batch
    groups = [ROWS_PER_GROUP] * (num_rows // ROWS_PER_GROUP)
    groups.append(num_rows - sum(groups))
    form = WindowForm(row_groups=tuple(groups), rows=2 * ROWS_PER_GROUP, epochs=1)
    order = Order(num_rows=num_rows, num_lanes=LANES, global_batch=batch, seed=0, window=form)
    random = np.random.default_rng(0)
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "full shuffle": lambda: random.permutation(num_rows),
        "shardline, full form": lambda: epoch_of(order, 1),
        "shardline, window form": lambda: epoch_of(order, 0),
        f"buffer of {LANES * form.rows} rows": lambda: buffered(num_rows, LANES * form.rows),
        "buffer of 10000 rows": lambda: buffered(num_rows, 10_000),
    }
    print(f"{'':24} displacement   spread    drift")
    for name, shuffle in kinds.items():
        rows = shuffle()
        batches = rows[: len(rows) // batch * batch].reshape(-1, batch)
        print(
            f"{name:24} {displacement(rows, num_rows):12.3f} {spread(batches, num_rows):8.3f} "
            f"{drift(batches):8.3f}"
        )


def epoch_of(order: Order, epoch: int) -> np.ndarray:
    """All rows of an epoch in its order."""
    lanes = range(order.num_lanes)
    return order.batch_rows(epoch=epoch, step=0, lanes=lanes, num_steps=order.steps_per_epoch)


def buffered(num_rows: int, size: int) -> np.ndarray:
    """What comes out of a buffer that gives one of its rows at random for each that enters."""
    random = np.random.default_rng(1)
    size = min(size, num_rows)
    buffer, out = np.arange(size), np.empty(num_rows, np.int64)
    slots = random.integers(0, size, num_rows - size)
    for entering, slot in zip(range(size, num_rows), slots, strict=True):
        out[entering - size] = buffer[slot]
        buffer[slot] = entering
    out[num_rows - size :] = random.permutation(buffer)
    return out


def displacement(rows: np.ndarray, num_rows: int) -> float:
    """Mean distance between where rows lie and when they come, as a share of all."""
    return float(np.abs(rows - np.arange(len(rows))).mean() / num_rows)


def spread(batches: np.ndarray, num_rows: int) -> float:
    """Deviation inside batches, against that of all rows."""
    return float(np.sqrt(batches.var(axis=1).mean()) / (num_rows / np.sqrt(12)))


def drift(batches: np.ndarray) -> float:
    """Correlation of consecutive batches' means."""
    means = batches.mean(axis=1)
    return float(np.corrcoef(means[:-1], means[1:])[0, 1])


if __name__ == "__main__":
    main()
