"""Makes `format-1/` beside it: a small store with every kind of artifact, through the public verbs.

    python tests/frozen/make.py

The folder is what users have: tests read it as it is. It is made anew only until the first release
with format 1; from then on it stays, and a later format gets a folder of its own.
"""

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

TARGET = Path(__file__).with_name("format-1")
MAX_BYTES = 300_000
USER = "first@laptop"

SPEC = """
name: houses
store: store
data:
  source: {format: csv, path: raw}
  split: {key: id, fractions: {train: 0.6, validation: 0.2, test: 0.2}}
  label: {name: kind}
  cleaning: {size: {missing: {by: median}}}
model: {builder: "model:build"}
train: {global_batch: 8, epochs: 2, seed: 1, checkpoint: {every_steps: 2}}
export:
  alias: production
  gate: {accuracy: {min: 0.0, max_regression: 1.0}}
score: {input: dataset/test, keep: [id]}
"""

MODEL = """
import keras


def build(features):
    x = keras.layers.Concatenate()([features["size"].normalized(), features["age"].normalized()])
    scores = keras.layers.Dense(2, activation="softmax", name="scores")(x)
    model = keras.Model(features.inputs, scores)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def raw_rows() -> list[str]:
    """Forty houses; one without a size, and one that no reader takes."""
    rows = [
        f"h{i},{'' if i == 7 else 40 + 3 * i},{i % 9},{'flat' if i % 3 else 'villa'}"
        for i in range(40)
    ]
    return ["id,size,age,kind", *rows, "h40,large,3,flat"]


def make(folder: Path) -> None:
    """The line in a folder: two published versions, one that failed, one deleted, and scores."""
    import shardline
    from shardline.artifacts.author import current_author
    from shardline.artifacts.checkpoint import list_checkpoints
    from shardline.artifacts.deletion import delete_version
    from shardline.artifacts.registry import claim_version
    from shardline.store import Store

    (folder / "raw").mkdir()
    (folder / "raw" / "houses.csv").write_text("\n".join(raw_rows()) + "\n")
    (folder / "model.py").write_text(MODEL)
    (folder / "houses.yaml").write_text(SPEC)
    spec = shardline.load_spec(folder / "houses.yaml")
    changes = ["train.run=second", "train.seed=2"]
    second = shardline.load_spec(folder / "houses.yaml", overrides=changes)
    store = Store(spec.located().store)
    with shardline.session(num_cpus=2):
        shardline.run(spec)
        shardline.run(second)
        shardline.rollback(spec, why="answered too slowly")
        shardline.promote(spec, version=2, alias="staging", why="to be looked at")
        claim_version(store, "houses")  # an export that failed
        earlier = list_checkpoints(store, "second")[0].step
        gone = shardline.export(
            second.model_copy(update={"export": second.export.model_copy(update={"alias": None})}),
            step=earlier,
        )
        delete_version(
            store, "houses", gone.version, why="of an early step", author=current_author()
        )
        shardline.score(spec)


def main() -> int:
    """Make the store and put it in place; its size decides the exit code."""
    os.environ["SHARDLINE_USER"] = USER
    with TemporaryDirectory(prefix="shardline-frozen-") as temporary:
        make(Path(temporary))
        shutil.rmtree(TARGET, ignore_errors=True)
        # Locks and probes are of this machine.
        skipped = shutil.ignore_patterns(".shardline", "tensorboard")
        shutil.copytree(Path(temporary, "store"), TARGET, ignore=skipped)
    files = [path for path in TARGET.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    sys.stdout.write(f"{len(files)} files, {size} bytes\n")
    return int(size > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main())
