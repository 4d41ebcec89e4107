"""How a source is cut into pieces of work: runs of small files, files, parts of large files."""

import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shardline.data.columnar import GroupRange, row_group_parts
from shardline.data.csv_rows import ByteRange
from shardline.data.sources import Content, SourceFile, SourceFiles
from shardline.spec.data import LabelsTable, Source

UNIT_BYTES = 64 << 20
MAX_UNIT_FILES = 512
MAX_LONE_FILES = 256
# Files of no less than this part of a unit are units of their own.
LARGE = 8
MAX_RUNS = 1024


@dataclass(frozen=True, slots=True)
class Unit:
    """What one task reads."""

    files: tuple[SourceFile, ...]
    part: ByteRange | GroupRange | None = None
    """Of the one file; None reads all files whole."""

    @property
    def continues(self) -> bool:
        """Whether the unit before has the rows of the same file that come before these."""
        return self.part is not None and self.part.start > 0

    def identity(self, contents: Mapping[str, Content]) -> list[Any]:
        """What tells its rows from others, in JSON's types.

        Args:
            contents: Of the source's files, by name.
        """
        files = [(file.name, contents[file.name].sha256) for file in self.files]
        return [files, asdict(self.part) if self.part else None]


def plan_units(
    files: SourceFiles,
    source: Source | LabelsTable,
    *,
    whole: Collection[str] = (),
    unit_bytes: int = UNIT_BYTES,
) -> list[Unit]:
    """Units that hold every row once, in the order of files and rows.

    Args:
        files: The source.
        source: Its format.
        whole: Names of CSV files that may not be entered in the middle: they hold quotes, and a
            line break behind a quote ends no row.
        unit_bytes: About how much one unit reads.

    Raises:
        DataError: A Parquet file has no readable footer.
    """
    return [
        unit
        for run in runs_of(files.files, unit_bytes)
        for unit in _parts(files, source, run, whole, unit_bytes)
    ]


def runs_of(
    files: tuple[SourceFile, ...], unit_bytes: int = UNIT_BYTES
) -> Iterator[tuple[SourceFile, ...]]:
    """Files one by one; of very many, small neighbours together.

    Where a run ends is decided by names, so that a file which is added changes the run that it
    falls into and no other: those were read before.
    """
    bits = max(5, (len(files) // MAX_RUNS).bit_length())
    fewest = 1 / (1 << bits)
    run: list[SourceFile] = []
    held = 0
    for file in files:
        is_alone = len(files) <= MAX_LONE_FILES or file.size >= unit_bytes // LARGE
        if run and (is_alone or held + file.size > unit_bytes or len(run) == MAX_UNIT_FILES):
            yield tuple(run)
            run, held = [], 0
        run.append(file)
        held += file.size
        # Runs of larger files end sooner, most of them before the size would end them.
        ends = max(fewest, 2 * file.size / unit_bytes)
        if is_alone or zlib.crc32(file.name.encode()) < ends * 2**32:
            yield tuple(run)
            run, held = [], 0
    if run:
        yield tuple(run)


def _parts(
    files: SourceFiles,
    source: Source | LabelsTable,
    run: tuple[SourceFile, ...],
    whole: Collection[str],
    unit_bytes: int,
) -> list[Unit]:
    file = run[0]
    parts: list[ByteRange] | list[GroupRange] | None = None
    if len(run) == 1 and file.size > unit_bytes:
        if source.format == "parquet":
            parts = row_group_parts(files, file, part_bytes=unit_bytes)
        elif source.format == "csv" and file.name not in whole and not files.is_packed(file):
            starts = range(0, file.size, unit_bytes)
            parts = [ByteRange(start, min(start + unit_bytes, file.size)) for start in starts]
    return [Unit(run, part) for part in parts] if parts else [Unit(run)]
