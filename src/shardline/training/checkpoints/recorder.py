"""What a run leaves in the store while it trains: checkpoints, in the background."""

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from shardline.artifacts.checkpoint import CheckpointManifest, Cursor, EpochLogs
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.shares import share_of
from shardline.artifacts.tensor_file import TensorFile, item_size
from shardline.artifacts.variables import (
    METRICS_PREFIX,
    MODEL_PREFIX,
    OPTIMIZER_PREFIX,
    host_array,
    named,
)
from shardline.spec.train import CheckpointSpec
from shardline.store import Store
from shardline.training.checkpoints.background import Background
from shardline.training.checkpoints.commit import commit_together, retain
from shardline.training.exchange.peers import Exchange

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """Training state besides the model's variables."""

    step: int
    cursor: Cursor
    history: tuple[EpochLogs, ...]
    metrics: list[Any]
    """Metric states summed over ranks; empty between epochs."""
    callbacks: tuple[dict[str, Any], ...] = ()
    """What the user's callbacks remember, in the order of the spec."""
    finished: bool = False
    """Whether one of them has ended training."""


class Recorder:
    """Writes a run's state from one background thread on every rank.

    The ranks hold identical replicas, so each copies and writes a share of them. One commit is
    under way at a time, and a save that comes due meanwhile waits for it: skipping it would lose
    ever more steps to a crash while the store is slow, so would queueing it, and memory would hold
    several copies.

    Args:
        store: Where to.
        template: What all checkpoints of this group of workers have in common.
        policy: Which checkpoints are kept.
        exchange: Connects the background threads of all ranks.
        clock: When a checkpoint was made.
    """

    def __init__(
        self,
        store: Store,
        template: CheckpointManifest,
        *,
        policy: CheckpointSpec,
        exchange: Exchange,
        clock: Clock = unix_clock,
    ) -> None:
        self._store = store
        self._template = template
        self._policy = policy
        self._exchange = exchange
        self._clock = clock
        self._share = TensorFile()
        self._background = Background()
        self._is_prepared = False
        self._has_saved = False
        self._said_that_it_waits = False

    def prepare(self, model: Any) -> None:
        """Fetch the memory that `save` copies to, in the background; once."""
        if self._is_prepared:
            return
        self._is_prepared = True
        sizes = _sizes(_variables(model))
        mine = share_of(sizes, rank=self._exchange.rank, world_size=self._exchange.world_size)
        num_bytes = sum(sizes[name] for name in mine)
        self._background.commit(lambda: self._share.reserve(num_bytes))

    def save(self, model: Any, snapshot: Snapshot) -> None:
        """Copy this rank's share of the state (blocks) and commit it (in the background).

        Raises:
            TrainingError: An earlier background write failed.
        """
        is_late = self._has_saved and self._background.is_busy()
        self._has_saved = True
        if is_late and not self._said_that_it_waits:
            self._said_that_it_waits = True
            logger.warning(
                "training waits at step %d until the checkpoint before is written: they come due "
                "faster than the store takes them; raise train.checkpoint.every_steps",
                snapshot.step,
            )
        self._background.wait()
        self._share.fill(_share(model, snapshot, self._exchange))
        manifest = self._template.model_copy(
            update={
                "step": snapshot.step,
                "cursor": snapshot.cursor,
                "history": snapshot.history,
                "callbacks": snapshot.callbacks,
                "finished": snapshot.finished,
                "created_unix_s": self._clock(),
            }
        )
        self._background.commit(lambda: self._commit(manifest))

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

    def _commit(self, manifest: CheckpointManifest) -> None:
        commit_together(self._store, manifest, self._share, self._exchange)
        if self._exchange.rank == 0:
            retain(self._store, manifest.run, self._policy, clock=self._clock)


def _share(model: Any, snapshot: Snapshot, exchange: Exchange) -> dict[str, Any]:
    """This rank's share of the training state, as arrays."""
    variables = _variables(model)
    metrics = {
        f"{METRICS_PREFIX}{index:05d}": np.asarray(state)
        for index, state in enumerate(snapshot.metrics)
    }
    sizes = _sizes(variables) | {name: state.nbytes for name, state in metrics.items()}
    mine = share_of(sizes, rank=exchange.rank, world_size=exchange.world_size)
    return {
        name: metrics[name] if name in metrics else host_array(variables[name]) for name in mine
    }


def _variables(model: Any) -> dict[str, Any]:
    variables = named(model.variables, prefix=MODEL_PREFIX)
    return variables | named(model.optimizer.variables, prefix=OPTIMIZER_PREFIX)


def _sizes(variables: dict[str, Any]) -> dict[str, int]:
    """Bytes of each variable, without copying it to the host."""
    return {
        name: math.prod(int(size) for size in variable.shape) * item_size(variable.dtype)
        for name, variable in variables.items()
    }
