"""The Keras callback of rank 0 that writes down how training goes, for people and dashboards.

Three things in the run folder, all written in the background: `progress.json` for whoever watches,
`metrics.jsonl` (one line per epoch and some in between) and TensorBoard event files. A run of any
length leaves a few hundred files and step lines: the pause between two grows with the run.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import keras
import orjson

from shardline.artifacts.checkpoint import EpochLogs
from shardline.artifacts.figures import figures
from shardline.artifacts.journal import (
    JournalLine,
    continued,
    dump_journal,
    finite,
    journal_key,
    read_journal,
    tensorboard_folder,
)
from shardline.errors import ShardlineError
from shardline.spec import Spec
from shardline.store import Store
from shardline.training.journal.data_wait import DataWait
from shardline.training.journal.notes import Notes
from shardline.training.journal.progress import progress_key
from shardline.training.journal.speed import Pace, Reading, Speed
from shardline.training.journal.tensorboard import event_files
from shardline.training.stream import TrainStream

PROGRESS_INTERVAL_S = 1.0
STEP_LINE_PAUSE_S, STEP_LINE_SHARE = 10.0, 0.005
FLUSH_PAUSE_S, FLUSH_SHARE = 15.0, 0.02


class Recorded(Protocol):
    """Knows where training is."""

    history: list[EpochLogs]

    @property
    def global_step(self) -> int:
        """Optimizer steps since the run began."""


@contextmanager
def journaling(
    store: Store, spec: Spec, *, record: Recorded, stream: TrainStream, rank: int
) -> Iterator[list["Journal"]]:
    """The journal of a training inside the block, complete when it ends; none but on rank 0."""
    if rank:
        yield []
        return
    journal = Journal(
        store,
        spec.run_name,
        record=record,
        wait=stream.wait,
        batch_rows=spec.train.global_batch,
        steps_per_epoch=stream.order.steps_per_epoch,
    )
    try:
        yield [journal]
    finally:
        journal.finish()


class Journal(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Must come after `Record`, on rank 0 alone.

    Args:
        store: Where the run lives.
        run: Its name.
        record: Where training is.
        wait: How long it waits for data.
        batch_rows: Rows of a global batch.
        steps_per_epoch: Optimizer steps.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        *,
        record: Recorded,
        wait: DataWait,
        batch_rows: int,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self._store, self._run = store, run
        self._record, self._wait = record, wait
        self._batch_rows, self._steps_per_epoch = batch_rows, steps_per_epoch
        self._notes = Notes()
        self._stamp = f"{int(time.time()):010d}"
        self._num_flushes = 0
        now_s = time.monotonic()
        self._step_pace = Pace(STEP_LINE_PAUSE_S, STEP_LINE_SHARE, now_s=now_s)
        self._flush_pace = Pace(FLUSH_PAUSE_S, FLUSH_SHARE, now_s=now_s)
        self._epoch_logs: dict[str, float | None] = {}
        self._lines = self._earlier_lines()
        self._num_in_events = 0
        self._flush()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the time."""
        self._epoch = epoch
        self._began = self._noted = self._reading()
        self._trained: Reading | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Say how far training is, once a second."""
        now_s = time.monotonic()
        if now_s - self._noted.now_s < PROGRESS_INTERVAL_S:
            return
        speed = self._speed(self._noted)
        running = finite(figures(logs or {}))
        self._note_progress(speed, self._epoch_logs or running)
        if self._step_pace.is_due(now_s):
            self._lines.append(self._line("step", running, speed, self._learning_rate({})))
        if self._flush_pace.is_due(now_s):
            self._flush()
        self._noted = self._reading()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Validation begins: it is not training."""
        self._trained = self._reading()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch's line; `Record` has its global metrics."""
        speed = self._speed(self._began, self._trained)
        entry = {name: v for name, v in self._record.history[-1].items() if name != "epoch"}
        self._epoch_logs = finite(entry)
        self._lines.append(self._line("epoch", self._epoch_logs, speed, self._learning_rate(entry)))
        self._note_progress(speed, self._epoch_logs)
        if self._flush_pace.is_due(time.monotonic()):
            self._flush()

    def finish(self) -> None:
        """Write what is left and wait for it; a store that does not answer is not waited for."""
        self._flush()
        self._notes.finish()

    def _earlier_lines(self) -> list[JournalLine]:
        try:
            written = read_journal(self._store, self._run)
        except ShardlineError:
            written = []  # the checkpoint's history is enough to go on with
        return continued(
            written,
            self._record.history,
            step=self._record.global_step,
            steps_per_epoch=self._steps_per_epoch,
        )

    def _line(
        self, kind: Any, logs: dict[str, float | None], speed: Speed, learning_rate: float | None
    ) -> JournalLine:
        return JournalLine(
            kind=kind,
            epoch=self._epoch,
            step=self._record.global_step,
            logs=logs,
            unix_s=time.time(),
            seconds=speed.seconds,
            rows_per_s=speed.rows_per_s,
            data_wait=speed.data_wait,
            learning_rate=learning_rate,
        )

    def _note_progress(self, speed: Speed, logs: dict[str, float | None]) -> None:
        report = {
            "step": self._record.global_step,
            "epoch": self._epoch,
            "epochs_done": len(self._record.history),
            "rows_per_s": speed.rows_per_s,
            "data_wait": speed.data_wait,
            "logs": logs,
        }
        self._notes.note("progress", self._writing(progress_key(self._run), orjson.dumps(report)))

    def _flush(self) -> None:
        """Write the journal as a whole, and an event file of what came since the last one."""
        lines = list(self._lines)
        new, self._num_in_events = lines[self._num_in_events :], len(lines)
        first, self._num_flushes = self._num_flushes == 0, self._num_flushes + 1
        self._notes.note(
            "metrics.jsonl", lambda: self._store.write(journal_key(self._run), dump_journal(lines))
        )
        if new or first:
            # A kind of its own: one that replaced the one before it would lose its events.
            name = f"events.out.tfevents.{self._stamp}.{self._num_flushes:06d}.shardline"
            self._notes.note(f"tensorboard/{name}", lambda: self._write_events(new, name, first))

    def _write_events(self, lines: list[JournalLine], name: str, first: bool) -> None:
        folder = tensorboard_folder(self._run)
        if first:
            self._store.delete_folder(folder)  # an earlier attempt may have come further
        for part, data in event_files(lines, begins=first).items():
            self._store.write(f"{folder}/{part}/{name}", data)

    def _writing(self, key: str, data: bytes) -> Callable[[], None]:
        return lambda: self._store.write(key, data)

    def _reading(self) -> Reading:
        return Reading(self._record.global_step, time.monotonic(), self._wait.seconds)

    def _speed(self, begin: Reading, end: Reading | None = None) -> Speed:
        return Speed.between(begin, end or self._reading(), batch_rows=self._batch_rows)

    def _learning_rate(self, logs: EpochLogs) -> float | None:
        """The one in force; `ReduceLROnPlateau` leaves the epoch's in the logs, then changes it."""
        if "learning_rate" in logs:
            return float(logs["learning_rate"])
        rate = getattr(self.model.optimizer, "learning_rate", None)
        return None if rate is None else float(keras.ops.convert_to_numpy(rate))
