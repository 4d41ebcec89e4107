"""Runs: what a run name stands for, and why it may not be continued with something else."""

from collections.abc import Mapping

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.data.manifest import DatasetManifest
from shardline.errors import SpecError
from shardline.model.code import ModelCode
from shardline.spec import Spec
from shardline.store import Marker, Store, commit_marker, read_marker

MARKER_NAME = "run.json"


class RunManifest(Marker):
    """Begins a run: everything that its checkpoints depend on."""

    run: str
    identity: dict[str, str]
    spec: dict[str, object]
    """The resolved spec."""
    code: dict[str, str]
    """The builder's source files."""


def begin_run(store: Store, spec: Spec, *, dataset: DatasetManifest, code: ModelCode) -> None:
    """Begin a run, or make sure that the one of this name was begun with the same things.

    Raises:
        SpecError: It was begun with another dataset, model or order of data.
    """
    manifest = RunManifest(
        run=spec.run_name,
        identity=_identity(spec, dataset, code),
        spec=spec.model_dump(mode="json"),
        code=dict(code.files),
    )
    key = f"runs/{spec.run_name}/{MARKER_NAME}"
    if commit_marker(store, key, manifest):
        return
    begun = read_marker(store, key, RunManifest)
    changed = differences(begun.identity, manifest.identity)
    if not changed:
        return
    if not list_checkpoints(store, spec.run_name):
        store.delete(key)  # nothing was trained under the old identity
        begin_run(store, spec, dataset=dataset, code=code)
        return
    raise SpecError(
        f"run {spec.run_name!r} was begun with another {' and '.join(changed)}; continue it with "
        "the same, name a new run with --set train.run=NAME, or discard it with --restart."
    )


def discard_run(store: Store, run: str) -> None:
    """Remove a run and its checkpoints; registered models stay."""
    store.delete_folder(f"runs/{run}")


def differences(begun: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """What of a run's identity has changed."""
    return [name for name in begun if begun[name] != wanted.get(name)]


def _identity(spec: Spec, dataset: DatasetManifest, code: ModelCode) -> dict[str, str]:
    return {
        "dataset": f"{dataset.name}/{dataset.version}",
        "model code": code.digest,
        "model.params": str(sorted(spec.model.model_dump(mode="json")["params"].items())),
        "train.seed": str(spec.train.seed),
        "train.global_batch": str(spec.train.global_batch),
        "train.lanes": str(spec.train.num_lanes),
    }
