"""What travels with a job: the spec, the code beside it and small files, never data."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shardline.errors import ResourceError

MAX_FILE_BYTES = 1 << 20
MAX_TOTAL_BYTES = 20 << 20
MAX_FILES = 2_000
"""A spec lying in a home folder is noticed by the number of files, long before all are seen."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file to send along."""

    path: Path
    """Relative to the packed folder."""
    num_bytes: int


def files_to_pack(folder: Path, *, leave_out: Sequence[Path] = ()) -> list[PackedFile]:
    """Files below a folder that a job may need.

    Python files always; others up to `MAX_FILE_BYTES`. Hidden files and folders, caches and the
    folders left out stay behind.

    Args:
        folder: Where the spec lies.
        leave_out: Absolute paths of files and folders that the job reads elsewhere.

    Raises:
        ResourceError: They are too many or too large to be code.
    """
    chosen: list[PackedFile] = []
    total = 0
    for path in _candidates(folder, frozenset(leave_out)):
        num_bytes = path.stat().st_size
        if path.suffix != ".py" and num_bytes > MAX_FILE_BYTES:
            continue
        chosen.append(PackedFile(path=path.relative_to(folder), num_bytes=num_bytes))
        total += num_bytes
        if total > MAX_TOTAL_BYTES or len(chosen) > MAX_FILES:
            raise ResourceError(
                f"the folder of the spec, {folder}, holds more than {MAX_TOTAL_BYTES >> 20} MiB "
                f"or {MAX_FILES} files to send along; move the spec and its model code into a "
                "folder of their own."
            )
    return chosen


def copy_files(files: Sequence[PackedFile], *, source: Path, target: Path) -> None:
    """Copy chosen files to another folder, keeping their places."""
    for file in files:
        place = target / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file.path, place)


def _candidates(folder: Path, leave_out: frozenset[Path]) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if _travels(here / name, leave_out))
        for name in sorted(files):
            path = here / name
            if _travels(path, leave_out) and path.is_file():
                yield path


def _travels(path: Path, leave_out: frozenset[Path]) -> bool:
    return not path.name.startswith(".") and path.name != "__pycache__" and path not in leave_out
