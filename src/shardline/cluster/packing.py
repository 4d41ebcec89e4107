"""What travels with a job: the spec and the Python files beside it; no data and no credentials."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardline.errors import ResourceError

MAX_TOTAL_BYTES = 20 << 20
MAX_FILES = 2_000
"""A spec lying in a home folder is noticed by the number of files, long before all are seen."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file to send along."""

    path: Path
    """Relative to the packed folder."""
    num_bytes: int


def files_to_pack(spec_file: Path) -> list[PackedFile]:
    """The spec file and the Python files in its folder and below, sub-packages with them.

    Nothing else: keys and tokens lie beside specs, too. Hidden files and folders stay behind.

    Raises:
        ResourceError: They are too many or too large to be code.
    """
    folder = spec_file.parent
    chosen: list[PackedFile] = []
    total = 0
    for path in (spec_file, *_python_files(folder)):
        num_bytes = path.stat().st_size
        chosen.append(PackedFile(path=path.relative_to(folder), num_bytes=num_bytes))
        total += num_bytes
        if total > MAX_TOTAL_BYTES or len(chosen) > MAX_FILES:
            raise ResourceError(
                f"the folder of the spec, {folder}, holds more than {MAX_TOTAL_BYTES >> 20} MiB "
                f"or {MAX_FILES} files of Python code to send along; move the spec and its model "
                "code into a folder of their own."
            )
    return chosen


def copy_files(files: Sequence[PackedFile], *, source: Path, target: Path) -> None:
    """Copy chosen files to another folder, keeping their places."""
    for file in files:
        place = target / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file.path, place)


def _python_files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix == ".py" and not name.startswith(".") and path.is_file():
                yield path
