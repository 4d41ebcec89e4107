"""The time that markers record, passed in so that tests decide it."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns the time in Unix seconds."""

unix_clock: Clock = time.time
