"""The Keras callback of every worker that keeps the cursor and commits checkpoints."""

import math
from typing import Any

import keras

from shardline.artifacts.checkpoint import Cursor, EpochLogs
from shardline.artifacts.figures import figures
from shardline.data.order import Order
from shardline.errors import SpecError
from shardline.spec.train import CheckpointSpec
from shardline.training.checkpoints.recorder import Recorder, Snapshot
from shardline.training.exchange.peers import Exchange
from shardline.training.replicas.equality import make_equal
from shardline.training.replicas.metrics import assign_all
from shardline.training.user_callbacks import UserCallbacks


class Record(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps cursor and history, and commits checkpoints on the same steps on all ranks.

    Args:
        order: The order of the training data.
        exchange: Connects the workers.
        recorder: Writes to the store; rank 0's alone does.
        policy: When to checkpoint.
        start: Where training continues.
        history: Logs of the epochs before it.
    """

    def __init__(
        self,
        order: Order,
        *,
        exchange: Exchange,
        recorder: Recorder,
        policy: CheckpointSpec,
        start: Cursor,
        history: list[EpochLogs],
    ) -> None:
        super().__init__()
        self.history = history
        self.order = order
        self.user_callbacks: UserCallbacks | None = None
        """Their state goes into checkpoints."""
        self._exchange = exchange
        self._recorder = recorder
        self._policy = policy
        self._cursor = start
        self._first_step = start.step
        self._saved_step = self.global_step
        self._restored_metrics: list[Any] | None = None
        self._save_is_asked = False

    @property
    def global_step(self) -> int:
        """Optimizer steps since the run began."""
        return self._cursor.epoch * self.order.steps_per_epoch + self._cursor.step

    def restore_metrics(self, states: list[Any]) -> None:
        """Continue the interrupted epoch's metrics; the states are sums over all ranks."""
        self._restored_metrics = states if self._exchange.rank == 0 else None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Make the first checkpoint as quick as the others."""
        self._recorder.prepare(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note where the epoch begins."""
        self._offset = self._first_step

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the cursor; commit inside an epoch when enough steps have passed."""
        self._add_restored_metrics()
        steps = self.order.steps_per_epoch
        self._cursor = Cursor(epoch=self._cursor.epoch, step=min(self._offset + batch + 1, steps))
        if self._cursor.step < steps and self._is_due():
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the epoch to the history and commit when due or when it is the best so far."""
        entry = figures(logs or {})
        self.history.append({"epoch": epoch, **entry})
        self._cursor = Cursor(epoch=epoch + 1, step=0)
        self._first_step = 0
        self._check_monitor(entry)
        # The last epoch is left to `on_train_end`: in between, `fit` may put moving averages of
        # the weights in their place.
        asked, self._save_is_asked = self._save_is_asked, False
        ends = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if not ends and (asked or self._is_due() or self._is_best()):
            self._save()
        if asked:
            self._recorder.wait()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Commit the end state."""
        if self._saved_step != self.global_step:
            self._save()

    def save_now(self) -> bool:
        """Commit the step just taken and wait until it is committed.

        All ranks must call it after the same step: a preempted worker asks its peers first.

        Returns:
            Whether it is committed. Not after the last step of an epoch, whose validation and logs
            are still to come: then `on_epoch_end` commits and waits.

        Raises:
            TrainingError: The checkpoint could not be written.
        """
        if self._cursor.step == self.order.steps_per_epoch:
            self._save_is_asked = True
            return False
        if self._saved_step != self.global_step:
            self._save()
        self._recorder.wait()
        return True

    def _add_restored_metrics(self) -> None:
        """Continue an interrupted epoch's metrics after its first batch.

        Not before: `fit` resets the states when an epoch begins, and Keras makes the variables of
        compiled metrics only while it traces the first step.
        """
        if self._restored_metrics is not None:
            variables = self.model.metrics_variables
            states = zip(variables, self._restored_metrics, strict=True)
            assign_all(variables, [variable.numpy() + state for variable, state in states])
        self._restored_metrics = None

    def _is_due(self) -> bool:
        every = self._policy.every_steps
        return self.global_step // every > self._saved_step // every

    def _is_best(self) -> bool:
        monitor = self._policy.monitor
        if monitor is None:
            return False
        values = [entry[monitor.metric] for entry in self.history]
        known = [value for value in values if not math.isnan(value)]
        best = min if monitor.mode == "min" else max
        is_best = bool(known) and values[-1] == best(known)
        # Rank 0 decides: metrics that a custom step computes by itself differ between ranks.
        votes = self._exchange.all_gather(bytes([is_best]))
        return votes[0] == b"\x01"

    def _check_monitor(self, entry: dict[str, float]) -> None:
        monitor = self._policy.monitor
        if monitor is not None and monitor.metric not in entry:
            raise SpecError(
                f"train.checkpoint.monitor.metric {monitor.metric!r} is not among the logs of an "
                f"epoch; use one of {', '.join(sorted(entry))}."
            )

    def _save(self) -> None:
        share = self.order.worker_share(self._exchange.rank, self._exchange.world_size)
        make_equal(self.model, self._exchange, share=share)
        local = [variable.numpy() for variable in self.model.metrics_variables]
        metrics = self._exchange.all_reduce(local)
        self._saved_step = self.global_step
        users = self.user_callbacks
        self._recorder.save(
            self.model,
            Snapshot(
                step=self.global_step,
                cursor=self._cursor,
                history=tuple(self.history),
                metrics=metrics if self._cursor.step else [],
                callbacks=users.states() if users else (),
                finished=bool(users and users.stopped),
            ),
        )
