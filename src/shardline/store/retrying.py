"""When a request is sent again: attempts, pauses and time, counted in one place for all layers."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

MAX_ATTEMPTS = 8
BUDGET_S = 120.0
"""After that long no further attempt begins; the one under way still has its own timeout."""
FIRST_PAUSE_S = 0.4
LONGEST_PAUSE_S = 20.0

T = TypeVar("T")


def pause_s(attempt: int, *, spent_s: float, draw: float) -> float | None:
    """How long to wait after a failed attempt; None if it was the last.

    Args:
        attempt: Number of the attempt that failed, from 1.
        spent_s: Time since the first one began.
        draw: Uniform in [0, 1): clients that fail together come back apart.
    """
    if attempt >= MAX_ATTEMPTS:
        return None
    pause = draw * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1))
    return pause if spent_s + pause < BUDGET_S else None


def retried(
    act: Callable[[], T],
    *,
    passes: Callable[[Exception], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What `act` returns, tried again while its errors may pass and the budget lasts."""
    began_s = clock()
    attempt = 1
    while True:
        try:
            return act()
        except Exception as error:
            spent_s = clock() - began_s
            pause = pause_s(attempt, spent_s=spent_s, draw=random.random())
            if pause is None or not passes(error):
                raise
        sleep(pause)
        attempt += 1
