"""A verb's result for its caller: a short table for people, one JSON object for programs."""

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

Report = Mapping[str, Any]


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


def _in_short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_in_short(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return f"{len(value)} entries"
    return "-" if value is None else str(value)
