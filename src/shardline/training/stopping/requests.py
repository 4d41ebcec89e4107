"""Requests to end training early, and where they wait in a worker process to be heard.

A request comes on the process's main thread (a signal, or a call from Ray's controller), training
runs on another one. It ends after a step, on all ranks after the same one, with a checkpoint.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from shardline.errors import TrainingError

STOP_GRACE_S = 20.0
"""Enough for a step and a checkpoint; preempted machines get 30 s and more."""

_reasons: list[str] = []
_ended = threading.Event()
_ended.set()
_stepping = threading.Event()

logger = logging.getLogger(__name__)


class StopRequested(TrainingError):
    """Training ended early because it was asked to; its last step is checkpointed."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Training goes on inside the block."""
    _reasons.clear()
    _stepping.clear()
    _ended.clear()
    try:
        yield
    finally:
        _ended.set()


def note_step() -> None:
    """Say that there is something to lose now."""
    _stepping.set()


def has_stepped() -> bool:
    """Whether a step was taken in this process since training began in it."""
    return _stepping.is_set()


def stop_reason() -> str:
    """Why this process was asked to stop; empty when it was not."""
    return _reasons[0] if _reasons else ""


def request_stop(reason: str) -> None:
    """Ask training to end after a step; without effect when there is none or it was asked before.

    Args:
        reason: For the log, such as `its node is being drained`.
    """
    if not _ended.is_set() and not _reasons:
        _reasons.append(reason)


def stop_training(reason: str, *, timeout_s: float = STOP_GRACE_S) -> bool:
    """Ask training to end and wait for it, unless no step was taken since the last checkpoint.

    Returns:
        Whether it has ended.
    """
    request_stop(reason)
    return _ended.wait(timeout_s if _stepping.is_set() else 0)


def stop_on_sigterm() -> None:
    """Take SIGTERM for a request to stop while training goes on; otherwise it ends the process."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)

    def hear(number: int, frame: FrameType | None) -> None:
        if _ended.is_set() or not _stepping.is_set() or _reasons:
            # Not while training, or for the second time: Ray's own way out.
            if callable(before):
                before(number, frame)
            return
        request_stop("a worker received SIGTERM")

    signal.signal(signal.SIGTERM, hear)
