"""Gates: which metrics a version must have before an alias may point to it."""

from collections.abc import Mapping
from math import isnan

from shardline.artifacts.manifest import ModelManifest
from shardline.spec.output import Bound

Metrics = Mapping[str, float]


def gate_failures(metrics: Metrics, gate: Mapping[str, Bound]) -> list[str]:
    """One sentence part per bound that the metrics do not keep; empty when all are kept."""
    if gate and not metrics:
        return ["it was never evaluated; run `shardline evaluate`, then export again"]
    failures = []
    for name, bound in gate.items():
        if name not in metrics:
            failures.append(f"{name} is not among its metrics ({', '.join(sorted(metrics))})")
            continue
        value = metrics[name]
        # Written as "not inside" so that NaN fails.
        if bound.min is not None and not value >= bound.min:
            failures.append(f"{name} is {value:g}, at least {bound.min:g} is required")
        if bound.max is not None and not value <= bound.max:
            failures.append(f"{name} is {value:g}, at most {bound.max:g} is allowed")
    return failures


def compares(gate: Mapping[str, Bound]) -> bool:
    """Whether a gate asks how a version does beside the one that the alias points to."""
    return any(bound.max_regression is not None for bound in gate.values())


def regressions(
    metrics: Metrics, held: Metrics, gate: Mapping[str, Bound], *, holder: int
) -> list[str]:
    """One sentence part per metric that is too much worse than the holder's on the same rows.

    Args:
        metrics: The candidate's; it passes `gate_failures`.
        held: Those of the version that the alias points to.
        gate: By metric.
        holder: Number of that version.
    """
    failures = []
    for name, bound in gate.items():
        if bound.max_regression is None:
            continue
        if name not in held:
            known = ", ".join(sorted(held)) or "none"
            failures.append(f"{name} is not among the metrics of version {holder} ({known})")
            continue
        sign = 1.0 if bound.better == "min" else -1.0
        worse_by = sign * (metrics[name] - held[name])
        # Every number is better than a holder's NaN, and none is worse than a NaN.
        unmeasured = isnan(held[name]) and not isnan(metrics[name])
        if not (unmeasured or worse_by <= bound.max_regression):
            failures.append(
                f"{name} is {metrics[name]:g}, version {holder} has {held[name]:g} on the same "
                f"rows; at most {bound.max_regression:g} worse is allowed"
            )
    return failures


def same_measure(a: ModelManifest, b: ModelManifest) -> bool:
    """Whether the metrics of two versions mean the same: same rows, and same builder.

    A builder's code and parameters say what is computed under a metric's name. Versions from before
    `evaluated_split` was recorded were evaluated on the one split that a dataset version has for
    it.
    """
    if not (a.metrics and b.metrics) or _measured_by(a) != _measured_by(b):
        return False
    return a.evaluated_split == b.evaluated_split or None in (a.evaluated_split, b.evaluated_split)


def rows_in_words(manifest: ModelManifest) -> str:
    """The rows behind a version's metrics."""
    if not manifest.metrics:
        return f"version {manifest.version} on none"
    lineage, split = manifest.lineage, manifest.evaluated_split or "held-out"
    return f"version {manifest.version} on {split} of {lineage.dataset}/{lineage.dataset_version}"


def _measured_by(manifest: ModelManifest) -> tuple[str, ...]:
    lineage = manifest.lineage
    rows = (lineage.dataset, lineage.dataset_version)
    return (*rows, lineage.code_digest, lineage.recipe_digest)
