"""Which form of order each epoch has: decided by the spec and the dataset, never by the cluster."""

import math

from shardline.data.manifest import DatasetManifest
from shardline.data.order import Order
from shardline.data.windows import WindowForm
from shardline.errors import SpecError
from shardline.spec.data import SplitName
from shardline.spec.train import TrainSpec

# Of the largest row group. Every batch takes from all lanes, so it mixes lanes x window rows.
WINDOW_GROUPS = 2
EVERY_EPOCH = 1 << 31


def split_order(dataset: DatasetManifest, split: SplitName, train: TrainSpec) -> Order:
    """The order of a split's rows under a spec.

    Raises:
        DataError: The split is smaller than one global batch.
        SpecError: `order: full` of a split that does not fit the cache.
    """
    shards = dataset.split(split).shards
    groups = tuple(rows for shard in shards for rows in shard.row_groups)
    num_rows = dataset.split(split).rows
    lane_rows = math.ceil(num_rows / train.num_lanes)
    form = WindowForm(
        row_groups=groups,
        rows=max(1, min(WINDOW_GROUPS * max(groups, default=1), lane_rows)),
        epochs=_window_epochs(dataset, split, train),
    )
    return Order(
        num_rows=num_rows,
        num_lanes=train.num_lanes,
        global_batch=train.global_batch,
        seed=train.seed,
        window=form if form.epochs else None,
    )


def order_in_words(dataset: DatasetManifest, train: TrainSpec) -> str:
    """The forms that the epochs of a training have."""
    epochs = _window_epochs(dataset, "train", train)
    return {0: "full", EVERY_EPOCH: "window"}.get(epochs, "window, then full")


def fits_cache(
    dataset: DatasetManifest,
    split: SplitName,
    train: TrainSpec,
    *,
    beside: SplitName | None = None,
) -> bool:
    """Whether machines keep the split's rows, as far as they read them.

    Args:
        dataset: Whose split.
        split: Which one.
        train: Says how much is kept.
        beside: A split that comes first; if it is kept, both have to fit.
    """
    taken = 0
    if beside is not None and fits_cache(dataset, beside, train):
        taken = decoded_bytes(dataset, beside)
    return taken + decoded_bytes(dataset, split) <= train.cache.max_bytes


def decoded_bytes(dataset: DatasetManifest, split: SplitName) -> int:
    """Size of a split's rows when decoded.

    Texts count as `prepare` has measured them; a split whose shards tell nothing of that counts
    without them.
    """
    columns = (*dataset.columns.features, dataset.columns.label)
    plain = sum(c.num_bytes for c in columns if c.dtype != "string" and not c.encoded)
    found = dataset.split(split)
    measured = sum(shard.table_bytes for shard in found.shards)
    return dataset.columns.image_bytes * found.rows + max(plain * found.rows, measured)


def _window_epochs(dataset: DatasetManifest, split: SplitName, train: TrainSpec) -> int:
    if train.order == "window":
        return EVERY_EPOCH
    fits = fits_cache(dataset, split, train)
    if train.order == "auto":
        return 1 if fits else EVERY_EPOCH
    if not fits:
        raise SpecError(
            f"train.order: full needs all {decoded_bytes(dataset, split)} bytes of the {split} "
            f"split in the cache, and train.cache.max_bytes is {train.cache.max_bytes}; raise it, "
            "or use order: auto."
        )
    return 0
