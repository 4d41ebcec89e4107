"""Batches of a prepared dataset for a notebook, as training with one worker sees them."""

import os
from pathlib import Path
from typing import Any, Literal

from shardline.data.batches import epoch_batches, open_feed, record_batch
from shardline.data.manifest import load_dataset
from shardline.errors import SpecError
from shardline.spec.data import SPLITS, SplitName
from shardline.spec.locations import absolute
from shardline.spec.train import CacheSpec, TrainSpec
from shardline.store import Store

FORMS = ("numpy", "tf", "arrow")


def batches(  # noqa: PLR0913  # what identifies the batches of an epoch
    name: str,
    *,
    store: str,
    split: SplitName = "train",
    batch: int = 64,
    seed: int = 0,
    epoch: int = 0,
    version: str | None = None,
    form: Literal["numpy", "tf", "arrow"] = "numpy",
    cache: str | None = None,
) -> Any:
    """The batches of one epoch, all features and the label, in the order of training.

    They are those that `train` with the same `global_batch` and `seed` and otherwise default
    settings takes. Rows that fill no batch are left out, others in every epoch.

    Args:
        name: The dataset.
        store: Where it lies: a folder, `file://` or `s3://bucket/prefix`.
        split: `train`, `validation` or `test`.
        batch: Rows of a batch.
        seed: Chooses one order among all.
        epoch: Which epoch, from 0.
        version: The dataset's version; left out, the one prepared last.
        form: What to return.
        cache: Folder on this machine that keeps rows for later calls; left out, `shardline` in the
            user's cache folder.

    Returns:
        With `numpy`, an iterator of dictionaries: column name to an array of shape (batch, *shape),
        (batch, 1) for scalar columns. With `tf`, a `tf.data.Dataset` of such dictionaries of
        tensors. With `arrow`, an iterator of record batches.

    Raises:
        NotFoundError: There is no such dataset.
        DataError: The split is smaller than one batch.
        SpecError: An argument is none of those allowed.
        ResourceError: That folder cannot be written, and the epoch is not the first one.
    """
    _check(split=split, batch=batch, seed=seed, epoch=epoch, form=form)
    train = _settings(batch=batch, seed=seed, epoch=epoch, cache=cache)
    place = Store(absolute(store, base=Path.cwd()))
    dataset = load_dataset(place, name, version)
    columns = (*dataset.columns.features, dataset.columns.label)
    feed = open_feed(place, dataset, split, columns=columns, train=train)
    if form == "tf":
        from shardline.training.stream import one_epoch

        return one_epoch(feed, epoch)
    found = epoch_batches(feed, epoch)
    return found if form == "numpy" else (record_batch(one, columns) for one in found)


def _settings(*, batch: int, seed: int, epoch: int, cache: str | None) -> TrainSpec:
    if cache is not None and "://" in cache.removeprefix("file://"):
        raise SpecError(f"cache is {cache!r}, expected a folder of this machine.")
    return TrainSpec(
        global_batch=batch,
        seed=seed,
        epochs=epoch + 1,
        cache=CacheSpec(dir=None if cache is None else absolute(cache, base=Path.cwd())),
        cpus_per_worker=os.cpu_count() or 1,
    )


def _check(*, split: str, batch: int, seed: int, epoch: int, form: str) -> None:
    if split not in SPLITS:
        raise SpecError(f"split is {split!r}, expected one of {', '.join(SPLITS)}.")
    if form not in FORMS:
        raise SpecError(f"form is {form!r}, expected one of {', '.join(FORMS)}.")
    for what, value, least in (("batch", batch, 1), ("seed", seed, 0), ("epoch", epoch, 0)):
        if not isinstance(value, int) or not least <= value < 2**31:
            raise SpecError(f"{what} is {value!r}, expected a whole number from {least}.")
