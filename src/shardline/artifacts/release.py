"""From a run to a version that an alias points to: what `export` and `promote` do."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from shardline.artifacts.aliases import AliasRecord, Decide, Decision, move_alias
from shardline.artifacts.author import Author, current_author
from shardline.artifacts.candidate import held_candidate
from shardline.artifacts.export import ExportResult, export_version
from shardline.artifacts.gate import (
    compares,
    gate_failures,
    regressions,
    rows_in_words,
    same_measure,
)
from shardline.artifacts.manifest import ModelManifest
from shardline.artifacts.registry import resolve
from shardline.cluster.tasks import run_on_worker
from shardline.errors import GateError, NotFoundError, SpecError
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.spec.output import Bound
from shardline.store import Store

RunExport = Callable[..., ExportResult]
"""Calls its first argument with the others where TensorFlow may be imported."""
Measure = Callable[[ModelManifest, ModelManifest], Mapping[str, float]]
"""Metrics of the first version on the rows that the second was evaluated on."""

logger = logging.getLogger(__name__)


def cannot_measure(holder: ModelManifest, candidate: ModelManifest) -> Mapping[str, float]:
    """The measure of those who have none.

    Raises:
        GateError: Always.
    """
    raise GateError(
        f"versions {candidate.version} and {holder.version} of model {candidate.name!r} were not "
        f"evaluated on the same rows by the same builder ({rows_in_words(candidate)}; "
        f"{rows_in_words(holder)}), and the gate compares them; train, evaluate and export both on "
        "one dataset version, with one code and model.params."
    )


@dataclass(frozen=True)
class Gate:
    """What a version must keep before an alias moves to it."""

    bounds: Mapping[str, Bound] = field(default_factory=dict)
    measure: Measure = cannot_measure
    """Asked when the alias's holder was evaluated on other rows, or by another builder."""


def export_run(
    store: Store,
    spec: Spec,
    code: ModelCode,
    *,
    run: RunExport = run_on_worker,
    measure: Measure = cannot_measure,
    step: int | None = None,
) -> ExportResult:
    """Export the run's checkpoint, then move `export.alias` if the gate lets the version pass.

    An alias that has left a version is not taken back by exporting that version again: the same
    command, run once more, would undo a rollback.

    Args:
        store: Where the run is.
        spec: The line.
        code: The builder's.
        run: Where TensorFlow may be imported.
        step: Of the checkpoint; left out, the best by `train.checkpoint.monitor`, or the last.
        measure: Asked by a gate that compares, when the alias's holder was evaluated on other rows
            or by another builder.

    Raises:
        NotFoundError: The run has no such checkpoint.
        GateError: The version exists now, but the alias stays where it was.
    """
    with held_candidate(store, spec, code, reader="export", step=step) as candidate:
        result = run(export_version, candidate)
    if spec.export.alias is None:
        return result
    manifest = resolve(store, result.model, version=result.version)
    why = f"exported from run {candidate.checkpoint.run}, step {candidate.checkpoint.step}"
    judged = _judged(store, manifest, Gate(spec.export.gate, measure), why)

    def decide(current: AliasRecord) -> Decision | None:
        held = any(move.to_version == result.version for move in current.history)
        left = held and current.version != result.version
        return None if result.reused and left else judged(current)

    record = move_alias(store, result.model, spec.export.alias, decide, author=current_author())
    if record.version == result.version:
        return replace(result, alias=spec.export.alias)
    logger.warning(
        "alias %r of model %r stays at version %s: version %d held it before and is no new one; "
        "move it with `shardline promote --version %d`.",
        record.alias, record.model, record.version, result.version, result.version,
    )  # fmt: skip
    return result


def promote(
    store: Store, manifest: ModelManifest, alias: str, gate: Gate, *, why: str, author: Author
) -> AliasRecord:
    """Point an alias at a version that passes the gate, against whoever holds the alias then.

    Raises:
        GateError: It does not pass; the alias stays where it was.
        InUseError: The version is being deleted.
    """
    decide = _judged(store, manifest, gate, why)
    return move_alias(store, manifest.name, alias, decide, author=author)


def promote_version(
    store: Store, spec: Spec, gate: Gate, *, version: int | None, alias: str | None, why: str
) -> AliasRecord:
    """Point an alias, by default `export.alias`, at a version, by default the newest.

    Raises:
        SpecError: Neither the call nor the spec names an alias.
        NotFoundError: There is no such version.
        GateError: The version does not pass `gate`.
    """
    target = alias_of(spec, alias)
    manifest = resolve(store, spec.model_name, version=version)
    return promote(store, manifest, target, gate, why=why, author=current_author())


def alias_of(spec: Spec, alias: str | None) -> str:
    """The alias that a call means.

    Raises:
        SpecError: Neither the call nor the spec names one.
    """
    target = alias or spec.export.alias
    if target is None:
        raise SpecError("no alias to move; give --alias, or set export.alias in the spec.")
    return target


def _judged(store: Store, manifest: ModelManifest, gate: Gate, why: str) -> Decide:
    """To the version, if it passes the gate beside whoever holds the alias when it is asked."""

    def decide(current: AliasRecord) -> Decision | None:
        failures = gate_failures(manifest.metrics, gate.bounds)
        if not failures and current.version == manifest.version:
            return None
        if not failures and current.version is not None and compares(gate.bounds):
            failures = _regressions(store, manifest, current.version, gate)
        if failures:
            raise GateError(
                f"version {manifest.version} of model {manifest.name!r} does not pass the gate: "
                f"{'; '.join(failures)}; alias {current.alias!r} was not moved."
            )
        return Decision(manifest.version, why)

    return decide


def _regressions(store: Store, manifest: ModelManifest, holder: int, gate: Gate) -> list[str]:
    try:
        held = resolve(store, manifest.name, version=holder)
    except NotFoundError:
        return []  # removed by hand; every version is better than none
    metrics = held.metrics if same_measure(manifest, held) else gate.measure(held, manifest)
    return regressions(manifest.metrics, metrics, gate.bounds, holder=holder)
