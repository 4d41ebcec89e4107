"""What `evaluate` does: one task where TensorFlow may be imported, unless its result is there."""

from collections.abc import Callable
from dataclasses import dataclass

from shardline.artifacts.candidate import Candidate, held_candidate
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
    store: Store,
    spec: Spec,
    code: ModelCode,
    *,
    run: RunEvaluation = run_on_worker,
    step: int | None = None,
) -> EvaluateResult:
    """Evaluate the run's checkpoint on the held-out split of the data it was trained with.

    Args:
        store: Where the run is.
        spec: The line.
        code: The builder's.
        run: Where TensorFlow may be imported.
        step: Of the checkpoint; left out, the best by `train.checkpoint.monitor`, or the last.

    Raises:
        NotFoundError: The run has no such checkpoint.
        DataError: The dataset has no held-out split.
    """
    with held_candidate(store, spec, code, reader="evaluate", step=step) as candidate:
        found = _evaluation(candidate, run)
    return EvaluateResult(
        metrics=dict(found.metrics),
        rows=found.rows,
        split=found.split,
        checkpoint=store.uri_of(candidate.checkpoint.key),
    )


def _evaluation(candidate: Candidate, run: RunEvaluation) -> EvaluationManifest:
    """The one that is there, else a new one."""
    split = held_out_split(candidate.dataset)
    if split is None:
        raise DataError(
            f"dataset {candidate.dataset.name!r} has no test and no validation rows to evaluate "
            "on; give data.split.fractions a test share and prepare again."
        )
    found = find_evaluation(
        candidate.store,
        candidate.checkpoint,
        candidate.dataset,
        builder_digest=candidate.builder_digest,
    )
    return run(evaluate_candidate, candidate, split) if found is None else found
