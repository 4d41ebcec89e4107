"""What a run leaves in the store while it trains: checkpoints and progress, in the background."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    Cursor,
    EpochLogs,
    delete_checkpoints,
    host_copies,
    list_checkpoints,
    model_tensors,
    superfluous,
    write_checkpoint,
)
from shardline.spec import Spec
from shardline.store import Store
from shardline.training.background import Background

PROGRESS_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Snapshot:
    """Training state besides the model's variables."""

    step: int
    cursor: Cursor
    history: tuple[EpochLogs, ...]
    metrics: list[Any]
    """Metric states summed over ranks; empty between epochs."""


class Recorder:
    """Writes a run's state from one background thread; on ranks other than 0 it writes nothing.

    Args:
        store: Where to.
        spec: The resolved spec.
        dataset_version: What is trained on.
        world_size: Number of workers.
        rank: This worker's number.
    """

    def __init__(
        self, store: Store, spec: Spec, *, dataset_version: str, world_size: int, rank: int
    ) -> None:
        self._store = store
        self._spec = spec
        self._dataset_version = dataset_version
        self._world_size = world_size
        self._writes = rank == 0
        self._noted_s = 0.0
        self._epoch_logs: dict[str, float] = {}
        self._background = Background()

    def save(self, model: Any, snapshot: Snapshot) -> None:
        """Copy the state (blocks) and commit it (in the background).

        Raises:
            TrainingError: An earlier background write failed.
        """
        if not self._writes:
            return
        self._background.wait()
        tensors = model_tensors(model)
        tensors |= host_copies(model.optimizer.variables, prefix="optimizer/")
        tensors |= {f"metrics/{i:04d}": np.array(s) for i, s in enumerate(snapshot.metrics)}
        manifest = CheckpointManifest(
            run=self._spec.run_name,
            step=snapshot.step,
            cursor=snapshot.cursor,
            world_size=self._world_size,
            spec_digest=self._spec.digest,
            dataset=self._spec.name,
            dataset_version=self._dataset_version,
            history=snapshot.history,
        )
        self._background.commit(lambda: self._commit(manifest, tensors))

    def note_progress(self, step: int, logs: dict[str, Any], rows_per_s: float) -> None:
        """Say how far training is, at most once per interval."""
        now_s = time.monotonic()
        if self._writes and now_s - self._noted_s >= PROGRESS_INTERVAL_S:
            self._noted_s = now_s
            self._write_progress(step, rows_per_s, {name: float(logs[name]) for name in logs})

    def note_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        """Remember an epoch's logs for the next progress report."""
        self._epoch_logs = {"epoch": epoch, **logs}

    def wait(self) -> None:
        """Wait until the last `save` is committed.

        Raises:
            TrainingError: It could not be.
        """
        self._background.wait()

    def finish(self) -> None:
        """Wait until everything is written.

        Raises:
            TrainingError: A background write failed.
        """
        self._background.finish()

    def _commit(self, manifest: CheckpointManifest, tensors: dict[str, Any]) -> None:
        write_checkpoint(self._store, manifest, tensors)
        policy = self._spec.train.checkpoint
        committed = list_checkpoints(self._store, manifest.run)
        delete_checkpoints(
            self._store, superfluous(committed, keep=policy.keep, monitor=policy.monitor)
        )

    def _write_progress(self, step: int, rows_per_s: float, logs: dict[str, float]) -> None:
        key = progress_key(self._spec.run_name)
        report = {"step": step, "rows_per_s": rows_per_s, "logs": self._epoch_logs or logs}
        self._background.note(lambda: self._store.write(key, orjson.dumps(report)))


def progress_key(run: str) -> str:
    """Where a run says how far it is, for whoever watches."""
    return f"runs/{run}/progress.json"
