"""From a run to a model version that an alias may point to: what `export` and `promote` do."""

import time
from collections.abc import Callable
from dataclasses import replace

from shardline.artifacts.aliases import AliasRecord, Clock, promote
from shardline.artifacts.checkpoint import find_checkpoint
from shardline.artifacts.export import ExportJob, ExportResult, export_version
from shardline.artifacts.registry import resolve
from shardline.artifacts.tasks import run_task
from shardline.data.manifest import load_dataset
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
    run: RunExport = run_task,
    clock: Clock = time.time,
) -> ExportResult:
    """Export the run's checkpoint, then move `export.alias` if the gate lets the version pass.

    Raises:
        NotFoundError: The run has no checkpoint.
        GateError: The version exists now, but the alias stays where it was.
    """
    checkpoint = find_checkpoint(store, spec.run_name, monitor=spec.train.checkpoint.monitor)
    dataset = load_dataset(store, checkpoint.dataset, checkpoint.dataset_version)
    job = ExportJob(store=store, spec=spec, code=code, dataset=dataset, checkpoint=checkpoint)
    result = run(export_version, job)
    if spec.export.alias is None:
        return result
    manifest = resolve(store, result.model, version=result.version)
    why = f"exported from run {checkpoint.run}, step {checkpoint.step}"
    promote(store, manifest, spec.export.alias, gate=spec.export.gate, clock=clock, why=why)
    return replace(result, alias=spec.export.alias)


def promote_version(
    store: Store,
    spec: Spec,
    *,
    version: int | None = None,
    alias: str | None = None,
    clock: Clock = time.time,
) -> AliasRecord:
    """Point an alias, by default `export.alias`, at a version, by default the newest.

    Raises:
        SpecError: Neither the call nor the spec names an alias.
        NotFoundError: There is no such version.
        GateError: The version does not pass `export.gate`.
    """
    target = alias or spec.export.alias
    if target is None:
        raise SpecError("no alias to promote to; set export.alias in the spec.")
    manifest = resolve(store, spec.model_name, version=version)
    return promote(store, manifest, target, gate=spec.export.gate, clock=clock)
