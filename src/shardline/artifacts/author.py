"""Who acts, and when: what claims, moves of aliases and deletions put on record."""

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from shardline.artifacts.clock import Clock, unix_clock

USER_VARIABLE = "SHARDLINE_USER"


@dataclass(frozen=True)
class Author:
    """Somebody, and the clock that their acts are dated by."""

    who: str
    """`user@host`, or what SHARDLINE_USER says."""
    clock: Clock = unix_clock


def current_author(
    environment: Mapping[str, str] = os.environ, *, clock: Clock = unix_clock
) -> Author:
    """The user of this process. Nobody proves it: the store knows credentials, not people."""
    named = environment.get(USER_VARIABLE, "").strip()
    return Author(named or f"{_user()}@{socket.gethostname()}", clock)


def when_in_words(unix_s: float) -> str:
    """A moment to the second, in UTC."""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run under numbers that no user has
        return f"uid-{os.getuid()}"
