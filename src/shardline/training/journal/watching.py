"""Shows on the driver what rank 0 writes down while it trains, and hands it to MLflow."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from shardline.errors import ShardlineError
from shardline.progress import Progress
from shardline.spec import Spec
from shardline.store import Store
from shardline.training.journal.progress import progress_key

WATCH_INTERVAL_S = 0.5
LAST_LOOK_TIMEOUT_S = 30.0

Look = Callable[[str | None], None]
"""Told None while training goes on, then how it ended: `FINISHED` or `FAILED`."""


@contextmanager
def watching(*looks: Look) -> Iterator[None]:
    """Look again and again while the body runs, and once when it has ended."""
    stopped = threading.Event()
    ended = ["FAILED"]

    def watch() -> None:
        while not stopped.wait(WATCH_INTERVAL_S):
            _all(looks, None)
        _all(looks, ended[0])

    thread = threading.Thread(target=watch, name="train-watch", daemon=True)
    thread.start()
    try:
        yield
        ended[0] = "FINISHED"
    finally:
        stopped.set()
        thread.join(LAST_LOOK_TIMEOUT_S)


def _all(looks: Iterable[Look], ended: str | None) -> None:
    for look in looks:
        look(ended)


class Watch:
    """One look at a run after the other.

    Args:
        store: Where the run lives.
        spec: The line.
        steps_per_epoch: Optimizer steps.
        progress: Shows what is found.
    """

    def __init__(
        self, store: Store, spec: Spec, *, steps_per_epoch: int, progress: Progress
    ) -> None:
        self._store = store
        self._key = progress_key(spec.run_name)
        self._train = spec.train
        self._total_steps = steps_per_epoch * spec.train.epochs
        self._progress = progress
        self._epochs_done: int | None = None

    def __call__(self, ended: str | None = None) -> None:
        """Show how far training is; nothing when that is not known."""
        try:
            report = json.loads(self._store.read(self._key))
        except (ShardlineError, ValueError):
            return  # nothing to show yet, or not now
        if self._epochs_done not in (None, report["epochs_done"]):
            self._progress.say(epoch_line(report, epochs=self._train.epochs))
        self._epochs_done = report["epochs_done"]
        self._progress.update(
            done=report["step"] * self._train.global_batch,
            total=self._total_steps * self._train.global_batch,
            note=note(report, epochs=self._train.epochs),
        )


def note(report: dict[str, Any], *, epochs: int) -> str:
    """What the bar says beside count, rate and time left."""
    at = min(report["epoch"] + 1, epochs)
    return f"epoch {at}/{epochs}  {_logs(report)}  {_waiting(report)}"


def epoch_line(report: dict[str, Any], *, epochs: int) -> str:
    """What stays on screen of a finished epoch."""
    rate = f"{report['rows_per_s']:,.0f} rows/s"
    return f"epoch {report['epochs_done']}/{epochs}  {_logs(report)}  {rate}  {_waiting(report)}"


def _logs(report: dict[str, Any]) -> str:
    return " ".join(
        f"{name} {'nan' if value is None else format(value, '.4g')}"
        for name, value in report["logs"].items()
    )


def _waiting(report: dict[str, Any]) -> str:
    return f"{report['data_wait']:.0%} waiting for data"
