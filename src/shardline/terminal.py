"""What people see on a terminal: progress bars and short result tables, drawn by rich on stderr."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS = 1000
SPARK_BARS = "▁▂▃▄▅▆▇█"
SPARK_COLUMNS = 60


class RateColumn(ProgressColumn):
    """Units per second so far."""

    def render(self, task: Task) -> Text:
        """The rate of one bar."""
        rate = task.finished_speed or task.speed
        return Text(f"{rate:,.0f} {task.fields['unit']}/s" if rate else "")


@dataclass(frozen=True)
class Bar:
    """One progress bar."""

    display: RichProgress
    task: TaskID

    def update(self, *, done: int, total: int | None, note: str = "") -> None:
        """Move the bar."""
        if not self.display.tasks[0].completed:
            # Work that was done before is no speed.
            self.display.reset(self.task, completed=done)
        self.display.update(self.task, completed=done, total=total, note=note)

    def say(self, line: str) -> None:
        """Show a line above the bar that stays."""
        self.display.console.print(line, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str, *, unit: str) -> Iterator[Bar]:
    """A bar with count, rate, time left and a note; it stays on screen when done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as display:
        yield Bar(display, display.add_task(title, total=None, unit=unit, note=""))


def print_table(title: str, rows: Mapping[str, Any]) -> None:
    """A two-column table of a verb's result, on stdout."""
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, str(value))
    _stdout().print(table)


def print_rows(title: str, items: Sequence[Mapping[str, Any]]) -> None:
    """A table with one row per item (at least one) and one column per key, on stdout."""
    table = Table(title=title, title_justify="left")
    names = list(items[0])
    for name in names:
        table.add_column(name, overflow="fold")
    for item in items:
        table.add_row(*(str(item[name]) for name in names))
    _stdout().print(table)


def print_curves(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """One small plot per column, with its first, last, lowest and highest number, on stdout."""
    table = Table(title="curves", title_justify="left")
    for name in ("metric", "curve", "first", "last", "lowest", "highest"):
        table.add_column(name, no_wrap=True)
    for name in names:
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            ends = (values[0], values[-1], min(values), max(values))
            table.add_row(name, sparkline(values), *(f"{value:.4g}" for value in ends))
    _stdout().print(table)


def sparkline(values: Sequence[float], *, width: int = SPARK_COLUMNS) -> str:
    """Numbers as one line of bars, the lowest the lowest bar; means where they are too many."""
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)]
    means = [fmean(values[a:b]) for a, b in pairwise(edges)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    top = len(SPARK_BARS) - 1
    return "".join(SPARK_BARS[round((mean - low) / span * top)] for mean in means)


def _stdout() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_COLUMNS  # rich assumes 80 and would cut URIs in two
    return console
