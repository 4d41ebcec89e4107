"""A small dataset with every kind of column, and what a worker is fed of it."""

import numpy as np
from tests.sample_datasets import write_dataset

from shardline.data.batches import open_feed
from shardline.data.schema import Column, Label
from shardline.spec.train import CacheSpec, TrainSpec
from shardline.store import open_store

ROWS = 230
FEATURES = (
    Column(name="number", dtype="int32"),
    Column(name="image", dtype="uint8", shape=(2, 3)),
    Column(name="word", dtype="string"),
    Column(name="flag", dtype="bool"),
    Column(name="half", dtype="float16", shape=(3,)),
    Column(name="other", dtype="int32", shape=(2,)),
)
LABEL = Label(name="label", dtype="int64")
COLUMNS = (*FEATURES, LABEL)


def values(rows=ROWS):
    number = np.arange(rows, dtype=np.int32)
    return {
        "number": number,
        "image": (number[:, None] * np.arange(1, 7)).astype(np.uint8).reshape(-1, 2, 3),
        "word": np.array([f"{n}: {'ü' * (n % 7)}" if n % 5 else "" for n in number], object),
        "flag": number % 3 == 0,
        "half": np.stack([number, number / 2, -number], axis=1).astype(np.float16),
        "other": np.stack([number * 2, number * 3], axis=1),
        "label": number.astype(np.int64) % 5,
    }


def dataset_in(folder, *, rows_per_group=8, name="tiny", store=None):
    """The store and the manifest."""
    store = store or open_store(f"file://{folder}/store")
    splits = {"train": values()}
    return store, write_dataset(
        store, FEATURES, LABEL, splits, rows_per_group=rows_per_group, name=name
    )


def train_spec(folder, **options):
    cache = CacheSpec(dir=f"file://{folder}/cache", max_bytes=options.pop("max_bytes", 1 << 30))
    return TrainSpec(**{"global_batch": 24, "lanes": 4, "epochs": 3, "cache": cache, **options})


def feed_of(dataset, train, *, share=(0, 1)):
    store, manifest = dataset
    return open_feed(store, manifest, "train", columns=COLUMNS, train=train, share=share)


def fed(feed, epoch=0, step=0, stop_epoch=3):
    """Every column of all rows that are fed."""
    parts = [feed.groups.layout.unpack(p) for p in feed.rows(epoch, step, stop_epoch=stop_epoch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def expected(feed, epoch=0, step=0, stop_epoch=3):
    """What the order says."""
    order = feed.order
    rows = np.concatenate(
        [
            order.batch_rows(epoch=now, step=at, lanes=feed.lanes)
            for now in range(epoch, stop_epoch)
            for at in range(step if now == epoch else 0, order.steps_per_epoch)
        ]
    )
    return {
        name: array[rows].reshape(len(rows), *(array.shape[1:] or (1,)))
        for name, array in values().items()
    }


def assert_fed(feed, epoch=0, step=0, stop_epoch=3):
    found = fed(feed, epoch, step, stop_epoch)
    for name, array in expected(feed, epoch, step, stop_epoch).items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)
