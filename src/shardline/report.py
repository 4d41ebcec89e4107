"""A verb's result for its caller: a short table for people, one JSON object for programs."""

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

Report = Mapping[str, Any]
Listing = Mapping[str, Sequence[Mapping[str, Any]]]
"""Rows of what a store holds, by kind."""
NUM_EPOCHS_SHOWN = 20


@contextmanager
def kept_stdout() -> Iterator[TextIO]:
    """The real stdout, while everything else that writes to it lands on stderr.

    Ray, TensorFlow and the user's code may print; the one JSON object must stay alone. The file
    descriptor is moved, not `sys.stdout`: native code and child processes write past Python.
    """
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(real), "w") as stream:
            yield stream
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def one_line(text: str) -> str:
    """The text without line breaks and control characters, which builders and raw files bring."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def as_report(result: Any) -> dict[str, Any]:
    """A result's fields as plain values."""
    return dataclasses.asdict(result)


def write_json(report: Report, stream: TextIO) -> None:
    """The report as one line of JSON."""
    import orjson

    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    stream.write(orjson.dumps(report, option=options).decode() + "\n")
    stream.flush()


def write_table(title: str, report: Report) -> None:
    """The report as a table of two columns, lists and nested values in short.

    A report that consists of others gets a table for each.
    """
    from shardline.terminal import print_table

    parts = {name: part for name, part in report.items() if part is not None}
    if all(isinstance(part, Mapping) for part in parts.values()):
        for name, part in parts.items():
            write_table(f"{title}: {name}", part)
        return
    print_table(title, {name: _in_short(value) for name, value in report.items()})


def write_rows(title: str, items: Sequence[Mapping[str, Any]], store_uri: str) -> None:
    """A listing as a table with one row per item; of epochs, curves and the last ones.

    Columns of a dataset have too many figures for a terminal's width; the main ones are shown.
    """
    from shardline.terminal import print_curves, print_rows

    if not items:
        sys.stdout.write(f"no {title} in {store_uri}\n")
        return
    if title == "columns":
        items = [_column_in_short(item) for item in items]
    names = list(dict.fromkeys(name for item in items for name in item))
    shown = [{name: _in_short(item.get(name)) for name in names} for item in items]
    if title != "epochs":
        print_rows(title, shown)
        return
    print_curves(items, [name for name in names if name not in ("epoch", "seconds")])
    more = len(items) - NUM_EPOCHS_SHOWN
    suffix = f" (the last {NUM_EPOCHS_SHOWN}; --json has all)" if more > 0 else ""
    print_rows(f"{title}{suffix}", shown[-NUM_EPOCHS_SHOWN:])


def _column_in_short(item: Mapping[str, Any]) -> dict[str, Any]:
    values = item["most frequent"]
    if item["mean"] is not None and not values:
        mean, deviation, low, high = (
            "-" if item[name] is None else f"{item[name]:.4g}"
            for name in ("mean", "deviation", "min", "max")
        )
        values = f"{mean} ± {deviation}, {low} to {high}"
    settles = item["settles"]
    return {
        "column": item["column"],
        "missing": item["missing"],
        "distinct": item["distinct"],
        "values": values,
        "histogram": item["histogram"],
        "settles": "" if settles is None else f"{settles:.1%}",
        "note": item["note"],
    }


def _in_short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_in_short(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return f"{len(value)} entries"
    return "-" if value is None else str(value)
