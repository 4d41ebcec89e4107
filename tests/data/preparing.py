"""Preparing small sources in tests, and looking at what came of it."""

import json

import pyarrow as pa

from shardline.data.manifest import load_dataset
from shardline.data.prepare import prepare_dataset
from shardline.data.reading import read_split
from shardline.progress import SilentProgress
from shardline.spec.data import SPLITS
from shardline.store import Store


def prepare(spec, *, store=None, size=None, progress=None):
    """The dataset of a spec, made at a fixed time."""
    return prepare_dataset(
        spec,
        store=store or Store(spec.store),
        clock=lambda: 1000.0,
        progress=progress or SilentProgress(),
        size=size,
    )


def manifest_of(spec, result):
    """What is known of a prepared dataset."""
    return load_dataset(Store(spec.store), result.dataset, result.version)


def rows_of(spec, result, *, splits=SPLITS):
    """All rows of some splits."""
    manifest = manifest_of(spec, result)
    store = Store(spec.store)
    return pa.concat_tables([t for split in splits for t in read_split(store, manifest, split)])


def quarantined(spec, result):
    """The records of the quarantine."""
    text = Store(spec.store).read(f"datasets/sample/{result.version}/quarantine/rows.jsonl")
    return [json.loads(line) for line in text.decode().splitlines()]
