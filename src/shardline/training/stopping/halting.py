"""The Keras callback that ends training after the same step on all ranks when one was asked to."""

import time
from typing import Any, Protocol

import keras
import orjson

from shardline.errors import NotFiniteError
from shardline.training.exchange.peers import Exchange
from shardline.training.exchange.ring import PEER_TIMEOUT_S
from shardline.training.stopping.requests import StopRequested, note_step, stop_reason

ASK_INTERVAL_S = 0.5
MAX_STEPS_BETWEEN = 10_000


class Committing(Protocol):
    """Knows where training is and commits it."""

    @property
    def global_step(self) -> int:
        """Optimizer steps since the run began."""

    def save_now(self) -> bool:
        """Commit the step just taken, unless that must wait for the end of the epoch."""


class StopTogether(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Asks all ranks every half second whether one of them is to stop; must come after `Record`.

    Asking is one exchange of a few bytes, too much for every step of a small model. Rank 0 knows
    how long a step takes and says after how many steps to ask again, so all ranks ask at the same
    steps.

    Args:
        exchange: Connects the workers.
        record: Commits the last step.
        stop_epoch: The epoch that training ends before anyway.
        stall_timeout_s: Silence of a rank that is too long between steps. Before an epoch's first
            step and while they validate, ranks import, trace and read, which takes one longer than
            another.
    """

    def __init__(
        self,
        exchange: Exchange,
        record: Committing,
        *,
        stop_epoch: int,
        stall_timeout_s: float,
    ) -> None:
        super().__init__()
        self._exchange = exchange
        self._record = record
        self._stop_epoch = stop_epoch
        self._stall_timeout_s = stall_timeout_s
        self._calls = 0
        self._next_call = 1
        self._asked_s = time.monotonic()
        self._divergence = ""

    def report(self, divergence: NotFiniteError) -> None:
        """End training on all ranks, without a checkpoint, for what this one alone has seen."""
        if self._exchange.world_size == 1:
            raise divergence
        self._divergence = self._divergence or divergence.message

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ask after the first step, which waits for rows that are not on this machine yet."""
        self._be_patient()
        self._calls, self._next_call = 0, 1

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Validation is traced and read first."""
        self._be_patient()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ask when it is time."""
        note_step()
        self._calls += 1
        if self._calls >= self._next_call:
            self._ask()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ask; after the last epoch, also one that a callback made it, only about divergence."""
        self._ask(over=epoch + 1 == self._stop_epoch or bool(self.model.stop_training))

    def _be_patient(self) -> None:
        """Let peers be late until the next time that all are asked."""
        self._exchange.expect_answers_within(max(self._stall_timeout_s, PEER_TIMEOUT_S))

    def _ask(self, *, over: bool = False) -> None:
        message = orjson.dumps([self._steps_until_next(), stop_reason(), self._divergence])
        answers = [orjson.loads(answer) for answer in self._exchange.all_gather(message)]
        self._exchange.expect_answers_within(self._stall_timeout_s)
        self._calls, self._next_call, self._asked_s = 0, answers[0][0], time.monotonic()
        for _, _, divergence in answers:
            if divergence:
                raise NotFiniteError(divergence)
        asked = [(rank, reason) for rank, (_, reason, _) in enumerate(answers) if reason]
        if asked and not over and self._record.save_now():
            # A rank that ends sooner makes Ray end the others, which may still be committing.
            self._exchange.all_gather(b"")
            rank, reason = asked[0]
            raise StopRequested(
                f"rank {rank} was asked to stop, {reason}; the run is committed up to step "
                f"{self._record.global_step} and goes on from there."
            )

    def _steps_until_next(self) -> int:
        elapsed_s = time.monotonic() - self._asked_s
        step_s = max(elapsed_s / max(self._calls, 1), 1e-6)
        return min(max(int(ASK_INTERVAL_S / step_s), 1), MAX_STEPS_BETWEEN)
