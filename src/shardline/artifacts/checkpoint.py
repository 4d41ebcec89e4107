"""Checkpoints: all state that training continues from, committed by a marker written last."""

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from shardline.errors import IntegrityError, NotFoundError
from shardline.spec.train import MonitorSpec
from shardline.store import Marker, Store, commit_marker, read_marker, read_verified

logger = logging.getLogger(__name__)

MARKER_NAME = "checkpoint.json"
EpochLogs = dict[str, int | float]
"""`epoch` and the metrics of one epoch, over all workers' rows."""
Tensors = Mapping[str, Any]
"""numpy arrays by name; `model/`, `optimizer/` and `metrics/` prefixes keep the kinds apart."""


class Cursor(BaseModel):
    """All state that the data order needs: where the next step is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    step: int
    """Steps of `epoch` already taken."""


class CheckpointManifest(Marker):
    """One committed checkpoint of a run."""

    run: str
    step: int
    """Optimizer steps since the run began."""
    cursor: Cursor
    world_size: int
    spec_digest: str
    dataset: str
    dataset_version: str
    history: tuple[EpochLogs, ...]
    """Logs of every finished epoch."""
    files: dict[str, str] = Field(default_factory=dict)
    """Sha256 of every file, by name."""

    @property
    def key(self) -> str:
        """Key prefix of this checkpoint in the store."""
        return checkpoint_key(self.run, self.step)

    @property
    def digest(self) -> str:
        """Sha256 of the tensors' file."""
        return next(iter(self.files.values()))

    @property
    def tensors_key(self) -> str:
        """Where the tensors are."""
        return f"{self.key}/{next(iter(self.files))}"


def checkpoint_key(run: str, step: int) -> str:
    """Key prefix of a checkpoint."""
    return f"runs/{run}/checkpoints/step-{step:08d}"


def write_checkpoint(store: Store, manifest: CheckpointManifest, tensors: Tensors) -> None:
    """Write the tensors, then commit; a committed checkpoint of the same step is kept as it is.

    The file is named after its content, so that a second writer of the step, with bits of its own,
    cannot change the one that a marker promises.
    """
    from safetensors.numpy import save

    data = save(dict(tensors))
    digest = hashlib.sha256(data).hexdigest()
    name = f"tensors-{digest[:16]}.safetensors"
    store.write(f"{manifest.key}/{name}", data)
    complete = manifest.model_copy(update={"files": {name: digest}})
    commit_marker(store, f"{manifest.key}/{MARKER_NAME}", complete)


def read_tensors(store: Store, manifest: CheckpointManifest) -> dict[str, Any]:
    """The checkpoint's arrays.

    Raises:
        IntegrityError: The file is not the one that was committed.
    """
    from safetensors.numpy import load

    data = read_verified(store, manifest.tensors_key, sha256=manifest.digest)
    tensors: dict[str, Any] = load(data)
    return tensors


def list_checkpoints(store: Store, run: str) -> list[CheckpointManifest]:
    """Committed checkpoints of a run, oldest first."""
    folder = f"runs/{run}/checkpoints"
    found = []
    for name in store.list_folders(folder):
        try:
            marker = read_marker(store, f"{folder}/{name}/{MARKER_NAME}", CheckpointManifest)
        except NotFoundError:
            continue  # not committed, or just removed by the run's retention
        found.append(marker)
    return sorted(found, key=lambda manifest: manifest.step)


def find_checkpoint(
    store: Store, run: str, *, monitor: MonitorSpec | None = None
) -> CheckpointManifest:
    """The checkpoint to evaluate and export: the best one, or without `monitor` the last.

    Raises:
        NotFoundError: The run has none.
    """
    checkpoints = list_checkpoints(store, run)
    if not checkpoints:
        raise NotFoundError(
            f"run {run!r} has no checkpoint in {store.uri}; run `shardline train` first."
        )
    return best_checkpoint(checkpoints, monitor)


def best_checkpoint(
    checkpoints: list[CheckpointManifest], monitor: MonitorSpec | None
) -> CheckpointManifest:
    """The one whose last finished epoch has the best monitored metric, else the newest."""
    scored = [c for c in checkpoints if monitor and _score(c, monitor) is not None]
    if monitor is None or not scored:
        return checkpoints[-1]
    sign = 1.0 if monitor.mode == "min" else -1.0
    return min(scored, key=lambda c: sign * (_score(c, monitor) or 0.0))


def _score(checkpoint: CheckpointManifest, monitor: MonitorSpec) -> float | None:
    """The monitored metric of the epoch that the checkpoint ends; None inside an epoch."""
    if checkpoint.cursor.step or not checkpoint.history:
        return None
    score = checkpoint.history[-1].get(monitor.metric)
    return None if score is None or math.isnan(score) else score


def superfluous(
    checkpoints: list[CheckpointManifest], *, keep: int, monitor: MonitorSpec | None
) -> list[CheckpointManifest]:
    """What retention removes: all but the last `keep` and the best one."""
    if not checkpoints:
        return []
    best = best_checkpoint(checkpoints, monitor)
    return [c for c in checkpoints[:-keep] if c.step != best.step]


def newest_intact(store: Store, checkpoints: list[CheckpointManifest]) -> CheckpointManifest | None:
    """The newest checkpoint whose bytes are those that were committed.

    Damaged ones on the way are removed, so that training can commit their steps again.
    """
    for checkpoint in reversed(checkpoints):
        try:
            read_tensors(store, checkpoint)
        except (IntegrityError, NotFoundError) as error:
            logger.warning("falling back to an earlier checkpoint: %s", error)
            delete_checkpoints(store, [checkpoint])
            continue
        return checkpoint
    return None


def delete_checkpoints(store: Store, checkpoints: Iterable[CheckpointManifest]) -> None:
    """Remove checkpoints, markers first: a reader sees all of one or none."""
    for checkpoint in checkpoints:
        store.delete(f"{checkpoint.key}/{MARKER_NAME}")
        store.delete_folder(checkpoint.key)


def model_tensors(model: Any) -> dict[str, Any]:
    """Host copies of a model's variables."""
    return host_copies(model.variables, prefix="model/")


def host_copies(variables: Iterable[Any], *, prefix: str) -> dict[str, Any]:
    """Arrays that later steps do not change, keyed by position and path.

    The position keeps two variables of one path apart.
    """
    return {
        f"{prefix}{index:04d}/{variable.path}": np.array(variable.numpy())
        for index, variable in enumerate(variables)
    }


def restore_weights(model: Any, tensors: Tensors) -> None:
    """Assign a checkpoint's weights to a model that the same builder made.

    Raises:
        IntegrityError: The model has other variables than the checkpoint.
    """
    assign_variables(model.variables, tensors, prefix="model/")


def assign_variables(variables: list[Any], tensors: Tensors, *, prefix: str) -> None:
    """Assign the tensors under `prefix`, in order, to variables of the same shapes."""
    saved = [tensors[name] for name in sorted(tensors) if name.startswith(prefix)]
    shapes = [tuple(variable.shape) for variable in variables]
    if [tuple(array.shape) for array in saved] != shapes:
        raise IntegrityError(
            f"the checkpoint holds {len(saved)} {prefix.rstrip('/')} variables, the builder made "
            f"{len(shapes)} or other shapes; the builder changed since: train under a new run."
        )
    for variable, array in zip(variables, saved, strict=True):
        variable.assign(array)
