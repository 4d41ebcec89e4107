"""Evaluations: what a checkpoint scored on a held-out split, committed beside its run."""

from shardline.artifacts.checkpoint import CheckpointManifest
from shardline.data.manifest import DatasetManifest
from shardline.errors import NotFoundError
from shardline.spec.data import SplitName
from shardline.store import Marker, Store, read_marker

HELD_OUT: tuple[SplitName, ...] = ("test", "validation")
"""Splits an evaluation may use, the preferred one first."""


class EvaluationManifest(Marker):
    """Metrics of one checkpoint over every row of one held-out split."""

    run: str
    step: int
    checkpoint_digest: str
    builder_digest: str
    """Code and parameters of the builder, which decide what is measured."""
    dataset: str
    dataset_version: str
    split: SplitName
    rows: int
    metrics: dict[str, float]
    created_unix_s: float


def evaluation_key(checkpoint: CheckpointManifest, dataset: DatasetManifest) -> str:
    """Key of the evaluation of a checkpoint on a dataset version."""
    return f"runs/{checkpoint.run}/evaluations/step-{checkpoint.step:08d}-{dataset.version}.json"


def find_evaluation(
    store: Store, checkpoint: CheckpointManifest, dataset: DatasetManifest, *, builder_digest: str
) -> EvaluationManifest | None:
    """The committed evaluation of exactly these weights and this builder, if there is one."""
    try:
        found = read_marker(store, evaluation_key(checkpoint, dataset), EvaluationManifest)
    except NotFoundError:
        return None
    wanted = (checkpoint.digest, builder_digest)
    return found if (found.checkpoint_digest, found.builder_digest) == wanted else None


def held_out_split(dataset: DatasetManifest) -> SplitName | None:
    """The split to evaluate on: test, else validation; None if neither has rows."""
    return next((name for name in HELD_OUT if dataset.split(name).rows), None)
