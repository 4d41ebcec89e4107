"""How fast training goes between two moments, and when to look again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """One look at all clocks."""

    step: int
    now_s: float
    waited_s: float


@dataclass(frozen=True)
class Speed:
    """What happened between two readings."""

    seconds: float
    rows_per_s: float
    data_wait: float

    @classmethod
    def between(cls, begin: Reading, end: Reading, *, batch_rows: int) -> "Speed":
        """Seconds, rows per second over all workers, and share of the time spent waiting."""
        seconds = max(end.now_s - begin.now_s, 1e-9)
        share = min(max((end.waited_s - begin.waited_s) / seconds, 0.0), 1.0)
        return cls(seconds, (end.step - begin.step) * batch_rows / seconds, share)


class Pace:
    """Says when to do something again: after a pause that grows with the time passed.

    Args:
        pause_s: Shortest pause.
        share: Of the time since the start, the pause when that is longer.
        now_s: The start.
    """

    def __init__(self, pause_s: float, share: float, *, now_s: float) -> None:
        self._pause_s, self._share = pause_s, share
        self._began_s = self._last_s = now_s

    def is_due(self, now_s: float) -> bool:
        """Whether it is time; if so, the next pause begins."""
        pause_s = max(self._pause_s, self._share * (now_s - self._began_s))
        if now_s - self._last_s < pause_s:
            return False
        self._last_s = now_s
        return True
