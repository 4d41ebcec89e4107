"""Units: how an input is cut into pieces of work, and what each piece's output is called."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAX_UNIT_ROWS = 65_536
MAX_UNIT_IMAGES = 512


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of the input."""

    name: str
    """Relative to the input."""
    fingerprint: str
    """Changes with the content."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of a scoring job."""

    name: str
    """Its output's name; a function of what is read and of the model version alone."""
    first_file: int
    """Position of the first file among the input's files."""
    num_files: int = 1
    row_groups: tuple[int, ...] | None = None
    """Row groups of the one file to read; None reads all."""
    first_row: int = 0
    """Rows of the file that come before the row groups."""
    num_rows: int | None = None
    """Rows to read; None when only reading tells."""


def parquet_units(
    position: int, file: InputFile, row_groups: Sequence[int], *, model: str
) -> Iterator[Unit]:
    """Runs of consecutive row groups of one Parquet file, every row group once.

    Args:
        position: The file's position among the input's files.
        file: The file.
        row_groups: Rows of each row group.
        model: Identifies the model version.
    """
    for run in row_group_runs(row_groups, max_rows=MAX_UNIT_ROWS):
        yield Unit(
            name=_unit_name([file], run, model),
            first_file=position,
            row_groups=tuple(run),
            first_row=sum(row_groups[: run.start]),
            num_rows=sum(row_groups[run.start : run.stop]),
        )


def file_units(files: Sequence[InputFile], *, model: str) -> Iterator[Unit]:
    """One unit per file, for formats that cannot be entered in the middle."""
    for position, file in enumerate(files):
        yield Unit(name=_unit_name([file], None, model), first_file=position)


def image_units(files: Sequence[InputFile], *, model: str) -> Iterator[Unit]:
    """Chunks of consecutive files of one row each."""
    for start in range(0, len(files), MAX_UNIT_IMAGES):
        chunk = files[start : start + MAX_UNIT_IMAGES]
        yield Unit(
            name=_unit_name(chunk, None, model),
            first_file=start,
            num_files=len(chunk),
            num_rows=len(chunk),
        )


def row_group_runs(row_groups: Sequence[int], *, max_rows: int) -> Iterator[range]:
    """Consecutive row groups of together at most `max_rows`, or one that is larger alone."""
    start, rows = 0, 0
    for index, group_rows in enumerate(row_groups):
        if index > start and rows + group_rows > max_rows:
            yield range(start, index)
            start, rows = index, 0
        rows += group_rows
    if start < len(row_groups):
        yield range(start, len(row_groups))


def known_rows(units: Sequence[Unit]) -> int | None:
    """Rows of all units together, None if only reading tells."""
    counts = [unit.num_rows for unit in units if unit.num_rows is not None]
    return sum(counts) if len(counts) == len(units) else None


def _unit_name(files: Sequence[InputFile], row_groups: range | None, model: str) -> str:
    # Names are part of it: two files of equal content are two units.
    identity = [
        [[file.name, file.fingerprint] for file in files],
        None if row_groups is None else list(row_groups),
        model,
    ]
    return f"part-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]}"
