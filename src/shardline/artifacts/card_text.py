"""Markdown that holds names from raw files, whatever characters they have."""

import re
from collections.abc import Sequence

from shardline.report import one_line


def code(value: str) -> str:
    """A name, set off from the words around it; also inside a table."""
    shown = one_line(value).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    if not longest:
        return f"`{shown}`" if shown.strip() else '`""`'
    fence = "`" * (longest + 1)
    return f"{fence} {shown} {fence}"


def number(value: float) -> str:
    """Six digits of a number."""
    return f"{value:.6g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
