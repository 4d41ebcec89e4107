"""How far long work is, shown to a person on a terminal and to nobody in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Receives how much is done; thread-safe."""

    def update(self, *, done: int, total: int | None, note: str = "") -> None:
        """Report `done` of `total` units, with a short note such as the current loss."""

    def say(self, line: str) -> None:
        """Show a line that stays."""


@dataclass(frozen=True)
class SilentProgress:
    """Shows nothing."""

    def update(self, *, done: int, total: int | None, note: str = "") -> None:
        """Ignore the report."""

    def say(self, line: str) -> None:
        """Ignore the line."""


@contextmanager
def show_progress(title: str, *, unit: str) -> Iterator[Progress]:
    """A bar on stderr with rate and time left when stderr is a terminal, else silence.

    Args:
        title: What is going on, such as `prepare`.
        unit: What is counted, such as `rows`.
    """
    if not sys.stderr.isatty():
        yield SilentProgress()
        return
    from shardline.terminal import progress_bar

    with progress_bar(title, unit=unit) as bar:
        yield bar
