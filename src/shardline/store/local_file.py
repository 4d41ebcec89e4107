"""A file that is complete and on disk before it has its name."""

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

from shardline.errors import StoreError, StoreUnavailableError

# Readers skip names that start with it: a crash may leave one behind.
PARTIAL_PREFIX = ".partial-"
# The disk, the user's share of it, or the largest file that this process may write.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAX_ATTEMPTS = 20

T = TypeVar("T")


class FolderGoneError(StoreError):
    """The folder was deleted under a file that was being written into it."""


def despite_deletions(write: Callable[[], T]) -> T:
    """Write, again if the folder went meanwhile: deletions remove folders that they leave empty."""
    for _ in range(MAX_ATTEMPTS - 1):
        with suppress(FolderGoneError):
            return write()
    return write()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; any of them may be there.

    Raises:
        FileNotFoundError: One was deleted at the same moment.
        OSError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        # `mkdir` looks afterwards whether what is in the way is a folder: it may be gone by then.
        if Path(error.filename).is_file():
            raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), error.filename) from error


def walked(folder: Path) -> Iterator[Path]:
    """Every file below a folder; one that is deleted meanwhile may be among them.

    Raises:
        StoreError: A folder cannot be listed, which `os.walk` would take for an empty one.
    """
    for parent, _, names in os.walk(folder, onerror=check_listed):
        for name in names:
            yield Path(parent, name)


def check_listed(error: OSError) -> None:
    """Say that a folder cannot be listed, unless there is none.

    Raises:
        StoreError: It is there.
    """
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise StoreError(
            f"{error.filename} cannot be listed: {error.strerror}; let this user read it, or set "
            "store to another folder."
        ) from error


class PartialFile:
    """A file beside `target` under a name that readers skip; gone at the end if nothing became.

    Args:
        target: The name that it may get.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.parent / f"{PARTIAL_PREFIX}{os.getpid()}-{os.urandom(8).hex()}"
        self._changed: list[Path] = []

    def __enter__(self) -> Self:
        self._file = despite_deletions(self._created)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        with suppress(OSError):  # renamed, or its folder was deleted under it
            self._path.unlink()

    def take(self, data: memoryview) -> None:
        """Add bytes.

        Raises:
            StoreUnavailableError: There is no room.
        """
        with self._explained():
            self._file.write(data)

    def replace(self) -> None:
        """Take the name, from another file if need be."""
        with self._explained():
            self._finish()
            self._path.replace(self._target)
            self._sync_names()

    def link(self) -> bool:
        """Take the name unless it is taken; the kernel lets one of several linkers win."""
        with self._explained():
            self._finish()
            try:
                os.link(self._path, self._target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in (errno.ENOENT, *NO_SPACE):
                    raise
                raise StoreError(
                    f"cannot make hard links in {self._target.parent}: {error.strerror}; "
                    "set store to a folder on a file system that has them."
                ) from error
            self._sync_names()
        return True

    def _created(self) -> io.BufferedWriter:
        folder = self._target.parent
        new = (path for path in (folder, *folder.parents) if not path.exists())
        self._changed = [folder, *(path.parent for path in new)]
        with self._explained():
            make_folder(folder)
            return self._path.open("xb")

    def _finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _sync_names(self) -> None:
        """Without it a power failure could take a name back that others have read."""
        for folder in self._changed:
            with suppress(FileNotFoundError):  # deleted meanwhile, and the name with it
                _sync(folder)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FolderGoneError(
                f"cannot write {self._target}: {error.strerror}; its folder is being deleted, run "
                "the same command again when nothing else writes there."
            ) from error
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StoreUnavailableError(
                    f"cannot write {self._target}: {error.strerror}; make room and run the same "
                    "command again, what was committed before is intact."
                ) from error
            raise StoreError(
                f"cannot write {self._target}: {error.strerror}; "
                "set store to a folder that this user may write."
            ) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Network file systems that cannot sync a folder sync its names themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
