"""From a run to a model version that an alias may point to: what `export` and `promote` do."""

from collections.abc import Callable
from dataclasses import replace

from shardline.artifacts.aliases import AliasRecord, promote
from shardline.artifacts.candidate import held_candidate
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.export import ExportResult, export_version
from shardline.artifacts.registry import resolve
from shardline.cluster.tasks import run_on_worker
from shardline.errors import SpecError
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.store import Store

RunExport = Callable[..., ExportResult]
"""Calls its first argument with the others where TensorFlow may be imported."""


def export_run(
    store: Store,
    spec: Spec,
    code: ModelCode,
    *,
    run: RunExport = run_on_worker,
    step: int | None = None,
    clock: Clock = unix_clock,
) -> ExportResult:
    """Export the run's checkpoint, then move `export.alias` if the gate lets the version pass.

    Args:
        store: Where the run is.
        spec: The line.
        code: The builder's.
        run: Where TensorFlow may be imported.
        step: Of the checkpoint; left out, the best by `train.checkpoint.monitor`, or the last.
        clock: When the alias moves.

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
    promote(store, manifest, spec.export.alias, gate=spec.export.gate, clock=clock, why=why)
    return replace(result, alias=spec.export.alias)


def promote_version(
    store: Store,
    spec: Spec,
    *,
    version: int | None = None,
    alias: str | None = None,
    clock: Clock = unix_clock,
) -> AliasRecord:
    """Point an alias, by default `export.alias`, at a version, by default the newest.

    Raises:
        SpecError: Neither the call nor the spec names an alias.
        NotFoundError: There is no such version.
        GateError: The version does not pass `export.gate`.
    """
    target = alias or spec.export.alias
    if target is None:
        raise SpecError("no alias to promote to; give --alias, or set export.alias in the spec.")
    manifest = resolve(store, spec.model_name, version=version)
    return promote(store, manifest, target, gate=spec.export.gate, clock=clock)
