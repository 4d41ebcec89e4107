"""Model versions for tests of the registry: real markers, and a file in place of a graph."""

import hashlib
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shardline.artifacts.aliases import Decision, move_alias
from shardline.artifacts.author import Author
from shardline.artifacts.manifest import Lineage, ModelManifest
from shardline.artifacts.registry import publish
from shardline.data.schema import Column, Label

AUTHOR = Author("first@host", clock=lambda: 1.0)


def lineage(**changes):
    values = {
        "dataset": "tiny",
        "dataset_version": "v1",
        "run": "tiny",
        "step": 3,
        "checkpoint_digest": "c",
        "spec_digest": "s",
        "recipe_digest": "r",
        "code_digest": "k",
        "libraries": {},
    }
    return Lineage(**(values | changes))


def manifest(version, *, name="tiny", metrics=None, split=None, **changes):
    return ModelManifest(
        name=name,
        version=version,
        created_unix_s=1.0,
        inputs=(Column(name="x", dtype="float32"),),
        outputs=(Column(name="y", dtype="float32", shape=(1,)),),
        label=Label(name="z", dtype="float32"),
        metrics=metrics or {},
        evaluated_split=split,
        parity_max_abs_error=0.0,
        lineage=lineage(**changes),
        files={"saved_model.pb": hashlib.sha256(b"graph").hexdigest()},
    )


def publish_versions(store, *numbers, **changes):
    """Publish versions of `tiny` that consist of one file."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, "saved_model.pb").write_bytes(b"graph")
        for number in numbers:
            publish(store, manifest(number, **changes), Path(temporary))


def point(store, version, alias="live", *, why="test", author=AUTHOR, model="tiny"):
    """Move an alias, whatever it points to."""

    def decide(current):
        return None if current.version == version else Decision(version, why)

    return move_alias(store, model, alias, decide, author=author)


def in_parallel(action, count=6):
    barrier = threading.Barrier(count)

    def act(number):
        barrier.wait()
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(act, range(count)))
