"""What `evaluate` does: one task where TensorFlow may be imported, unless its result is there."""

from collections.abc import Callable
from dataclasses import dataclass

from shardline.artifacts.candidate import find_candidate
from shardline.artifacts.evaluation import EvaluationManifest, find_evaluation, held_out_split
from shardline.cluster.tasks import run_on_worker
from shardline.errors import DataError
from shardline.evaluation.worker import evaluate_candidate
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.store import Store

RunEvaluation = Callable[..., EvaluationManifest]
"""Calls its first argument with the others where TensorFlow may be imported."""


@dataclass(frozen=True)
class EvaluateResult:
    """What `evaluate` found."""

    metrics: dict[str, float]
    """`loss` and the model's compiled metrics."""
    rows: int
    """Rows of the split, each counted once."""
    split: str
    checkpoint: str
    """URI of the checkpoint."""


def evaluate_run(
    store: Store, spec: Spec, code: ModelCode, *, run: RunEvaluation = run_on_worker
) -> EvaluateResult:
    """Evaluate the run's checkpoint on the held-out split of the data it was trained with.

    Raises:
        NotFoundError: The run has no checkpoint.
        DataError: The dataset has no held-out split.
    """
    candidate = find_candidate(store, spec, code)
    split = held_out_split(candidate.dataset)
    if split is None:
        raise DataError(
            f"dataset {candidate.dataset.name!r} has no test and no validation rows to evaluate "
            "on; give data.split.fractions a test share and prepare again."
        )
    found = find_evaluation(
        store,
        candidate.checkpoint,
        candidate.dataset,
        builder_digest=candidate.builder_digest,
    )
    if found is None:
        found = run(evaluate_candidate, candidate, split)
    return EvaluateResult(
        metrics=dict(found.metrics),
        rows=found.rows,
        split=found.split,
        checkpoint=store.uri_of(candidate.checkpoint.key),
    )
