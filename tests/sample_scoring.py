"""A dataset to score and a model whose answers are plain numpy."""

import hashlib

import numpy as np
from tests.sample_datasets import write_dataset

from shardline.artifacts.manifest import Lineage, ModelManifest
from shardline.data.schema import Column, Label

X = Column(name="x", dtype="float32")
GRID = Column(name="grid", dtype="uint8", shape=(2, 2))
LABEL = Label(name="side", dtype="int64", vocabulary=("left", "right"))
NUM_ROWS = {"train": 37, "test": 11}


class Doubler:
    """Answers 2 x, the grid as floats, and a text; counts its calls and rows."""

    def __init__(self):
        self.batches = []

    def predict(self, columns):
        x = columns["x"]
        self.batches.append(len(x))
        texts = np.array([[f"x={value:g}"] for value in x[:, 0]], dtype=object)
        answers = {"double": 2 * x, "text": texts}
        if "grid" in columns:
            answers["grid_out"] = columns["grid"].astype(np.float32)
        return answers


def model_manifest(inputs=(X, GRID), version=3):
    return ModelManifest(
        name="doubler",
        version=version,
        created_unix_s=1.0,
        inputs=inputs,
        outputs=(
            Column(name="double", dtype="float32", shape=(1,)),
            Column(name="grid_out", dtype="float32", shape=(2, 2)),
            Column(name="text", dtype="string"),
        ),
        label=LABEL,
        metrics={},
        parity_max_abs_error=0.0,
        lineage=Lineage(
            dataset="tiny",
            dataset_version="v1",
            run="tiny",
            step=1,
            checkpoint_digest="c",
            spec_digest="s",
            recipe_digest="r",
            code_digest="k",
            libraries={},
        ),
        files={"saved_model.pb": hashlib.sha256(b"").hexdigest()},
    )


def write_tiny(store):
    splits = {}
    start = 0
    for split, rows in NUM_ROWS.items():
        x = np.arange(start, start + rows)
        splits[split] = {
            "x": x.astype(np.float32),
            "grid": np.repeat(x, 4).reshape(-1, 2, 2).astype(np.uint8),
            "side": x % 2,
            "path": [f"file-{i}" for i in x],
        }
        start += rows
    return write_dataset(
        store, [X, GRID], LABEL, splits, carried=["path"], rows_per_group=5, groups_per_shard=2
    )
