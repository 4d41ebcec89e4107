"""Checkpoints: all state that training continues from, committed by a marker written last."""

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shardline.artifacts.tensor_file import TensorFile, read_tensor_file
from shardline.errors import IntegrityError, NotFoundError
from shardline.spec.train import MonitorSpec
from shardline.store import Marker, Store, commit_marker, dump_marker, read_marker, read_verified

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
    callbacks: tuple[dict[str, Any], ...] = ()
    """What the user's callbacks remember, in the order of the spec."""
    finished: bool = False
    """Whether one of them has ended training here, before the last epoch."""
    identity: dict[str, str] = Field(default_factory=dict)
    """What the run was begun with, as in `run.json`, should that be lost."""
    created_unix_s: float = 0.0
    files: dict[str, str] = Field(default_factory=dict)
    """Sha256 of every file of tensors, by name; each rank wrote one."""

    @property
    def key(self) -> str:
        """Key prefix of this checkpoint in the store."""
        return checkpoint_key(self.run, self.step)

    @property
    def digest(self) -> str:
        """Sha256 that stands for all tensors."""
        digests = sorted(self.files.values())
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    @property
    def file_keys(self) -> list[str]:
        """Where the tensors are."""
        return [f"{self.key}/{name}" for name in sorted(self.files)]


def checkpoint_key(run: str, step: int) -> str:
    """Key prefix of a checkpoint."""
    return f"runs/{run}/checkpoints/step-{step:08d}"


def step_of(folder: str) -> int | None:
    """The step of a checkpoint's folder, from its name; None if it is not one."""
    number = folder.removeprefix("step-")
    return int(number) if number != folder and number.isdigit() else None


def write_checkpoint(store: Store, manifest: CheckpointManifest, tensors: Tensors) -> None:
    """Write all tensors in one share, then commit."""
    share = TensorFile()
    share.fill(tensors)
    commit_checkpoint(store, manifest, write_share(store, manifest, share))


def write_share(store: Store, manifest: CheckpointManifest, share: TensorFile) -> dict[str, str]:
    """Write some of a checkpoint's tensors, to be committed with the others.

    The file is named after its content, so that a second writer of the step, with bits or a number
    of ranks of its own, cannot change the one that a marker promises.

    Returns:
        Sha256 by file name.
    """
    digest = hashlib.sha256(share.data).hexdigest()
    name = f"tensors-{digest[:16]}.safetensors"
    store.write(f"{manifest.key}/{name}", share.data, sha256=digest)
    return {name: digest}


def commit_checkpoint(
    store: Store, manifest: CheckpointManifest, files: Mapping[str, str]
) -> CheckpointManifest:
    """Make the written shares a checkpoint; one of the same step that is there is kept as it is.

    A marker that nobody can read promises nothing and is replaced.

    Args:
        store: Where the shares are.
        manifest: What they belong to.
        files: Sha256 by name of all shares.
    """
    complete = manifest.model_copy(update={"files": dict(files)})
    key = f"{manifest.key}/{MARKER_NAME}"
    if not commit_marker(store, key, complete) and read_checkpoint(store, manifest.key) is None:
        store.write(key, dump_marker(complete))
    return complete


def read_tensors(store: Store, manifest: CheckpointManifest) -> dict[str, Any]:
    """The checkpoint's arrays, from all shares.

    Raises:
        IntegrityError: A file is not the one that was committed.
        NotFoundError: A file is gone.
    """
    tensors: dict[str, Any] = {}
    for name, digest in sorted(manifest.files.items()):
        tensors |= read_tensor_file(read_verified(store, f"{manifest.key}/{name}", sha256=digest))
    return tensors


def list_checkpoints(store: Store, run: str) -> list[CheckpointManifest]:
    """Committed checkpoints of a run, oldest first."""
    folder = f"runs/{run}/checkpoints"
    while True:
        names = store.list_folders(folder)
        found = [read_checkpoint(store, f"{folder}/{name}") for name in names]
        # One that is gone was removed because there are newer ones, which this list may lack.
        if all(found) or store.list_folders(folder) == names:
            return sorted((each for each in found if each), key=lambda manifest: manifest.step)


def read_checkpoint(store: Store, folder: str) -> CheckpointManifest | None:
    """The checkpoint in a folder.

    None if it is not committed, was just removed by the run's retention, or its marker is torn or
    another checkpoint's.
    """
    key = f"{folder}/{MARKER_NAME}"
    try:
        manifest = read_marker(store, key, CheckpointManifest)
    except NotFoundError:
        return None
    except IntegrityError as error:
        logger.warning("passing over a checkpoint: %s", error)
        return None
    if manifest.key != folder or not manifest.files:
        logger.warning("passing over a checkpoint: %s describes another", store.uri_of(key))
        return None
    return manifest


def find_checkpoint(
    store: Store, run: str, *, monitor: MonitorSpec | None = None, step: int | None = None
) -> CheckpointManifest:
    """The checkpoint to evaluate and export: that of a step, else the best one, else the last.

    Args:
        store: Where the run is.
        run: Its name.
        monitor: What the best one is best in.
        step: Optimizer steps since the run began.

    Raises:
        NotFoundError: The run has none, or none of that step; the sentence lists those it has.
    """
    checkpoints = list_checkpoints(store, run)
    if not checkpoints:
        raise NotFoundError(
            f"run {run!r} has no checkpoint in {store.uri}; run `shardline train` first."
        )
    if step is None:
        return best_checkpoint(checkpoints, monitor)
    found = next((checkpoint for checkpoint in checkpoints if checkpoint.step == step), None)
    if found is None:
        steps = ", ".join(str(checkpoint.step) for checkpoint in checkpoints)
        raise NotFoundError(
            f"run {run!r} has no checkpoint of step {step} in {store.uri}; it has those of steps "
            f"{steps}."
        )
    return found


def best_checkpoint(
    checkpoints: Sequence[CheckpointManifest], monitor: MonitorSpec | None
) -> CheckpointManifest:
    """The one whose last finished epoch has the best monitored metric, else the newest."""
    return next(iter(best_checkpoints(checkpoints, monitor)), checkpoints[-1])


def best_checkpoints(
    checkpoints: Sequence[CheckpointManifest], monitor: MonitorSpec | None
) -> list[CheckpointManifest]:
    """Those that end an epoch whose metric is known, the best first, of equal ones the older."""
    if monitor is None:
        return []
    sign = 1.0 if monitor.mode == "min" else -1.0
    scores = [(_score(checkpoint, monitor), checkpoint) for checkpoint in checkpoints]
    known = [(sign * score, checkpoint) for score, checkpoint in scores if score is not None]
    return [checkpoint for _, checkpoint in sorted(known, key=lambda pair: (pair[0], pair[1].step))]


def _score(checkpoint: CheckpointManifest, monitor: MonitorSpec) -> float | None:
    """The monitored metric of the epoch that the checkpoint ends; None inside an epoch."""
    if checkpoint.cursor.step or not checkpoint.history:
        return None
    score = checkpoint.history[-1].get(monitor.metric)
    return None if score is None or math.isnan(score) else score
