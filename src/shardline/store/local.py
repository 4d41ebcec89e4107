"""A folder as a store: exclusive creation and compare-and-swap by hard links and a lock file."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from shardline.errors import IntegrityError, NotFoundError, StoreError, StoreUnavailableError
from shardline.store.local_file import (
    PARTIAL_PREFIX,
    PartialFile,
    check_listed,
    despite_deletions,
    walked,
)
from shardline.store.sink import Take

LOCK_PREFIX = ".lock-"
LOCK_TIMEOUT_S = 60.0
LOCK_POLL_S = 0.005
PIECE_BYTES = 16 << 20


@dataclass(frozen=True)
class LocalBytes:
    """Objects are files; a file appears under its name only when it is complete."""

    root: Path

    @property
    def identity(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def name(self) -> str:
        """The file system, for sentences."""
        return f"the file system of {self.root}"

    def read(self, key: str) -> bytes:
        """Content of a file."""
        with self._opened(key) as file:
            return bytes(file.read())

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Content and its digest, which serves as version."""
        data = self.read(key)
        return data, sha256(data).hexdigest()

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Some bytes of a file."""
        with self._opened(key) as file:
            file.seek(start)
            return bytes(file.read(length))

    def pieces(self, key: str) -> Iterator[bytes]:
        """Content of a file, which stays the one that was opened."""
        with self._opened(key) as file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    def write(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> None:  # noqa: ARG002
        """Replace the file in one step."""

        def replace() -> None:
            with self.writing(key) as take:
                take(memoryview(data))

        despite_deletions(replace)

    @contextmanager
    def writing(self, key: str) -> Iterator[Take]:
        """Replace the file in one step by what is taken in the block."""
        with PartialFile(self._path(key)) as partial:
            yield partial.take
            partial.replace()

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Link a finished file to its name; the kernel lets one of several linkers win."""

        def link() -> bool:
            with PartialFile(self._path(key)) as partial:
                partial.take(memoryview(data))
                return partial.link()

        return despite_deletions(link)

    def compare_and_swap(self, key: str, data: bytes, version: str) -> bool:
        """Replace under a lock, so that no two writers compare with the same version."""
        with self._locked(key):
            if self.read_versioned(key)[1] != version:
                return False
            self.write(key, data)
            return True

    def scan(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Files whose key starts with `prefix`, sorted."""
        for key, status in sorted(self._walk(self.root / prefix.rpartition("/")[0])):
            if key.startswith(prefix):
                yield key, status.st_size, f"{status.st_size}-{status.st_mtime_ns}"

    def list_folders(self, prefix: str) -> list[str]:
        """Sub-folders that hold at least one file."""
        try:
            candidates = [path for path in (self.root / prefix).iterdir() if path.is_dir()]
        except OSError as error:
            check_listed(error)
            return []
        return sorted(path.name for path in candidates if any(self._walk(path)))

    def delete(self, key: str) -> None:
        """Remove a file and the folders it leaves empty."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return  # it was never there
        except OSError as error:
            raise StoreError(
                f"cannot delete {path}: {error.strerror}; "
                "set store to a folder that this user may write."
            ) from error
        for parent in path.parents:
            if parent == self.root:
                break
            try:
                parent.rmdir()
            except OSError:
                break  # not empty, or gone already

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove files."""
        for key in keys:
            self.delete(key)

    def sweep(self, prefix: str) -> None:
        """Remove the partial files that dead writers left."""
        shutil.rmtree(self.root / prefix, ignore_errors=True)

    def filesystem(self) -> tuple[Any, str]:
        """Arrow's local filesystem and the root path."""
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), str(self.root)

    @contextmanager
    def _opened(self, key: str) -> Iterator[Any]:
        try:
            file = self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFoundError.at(str(self.root / key)) from error
        except PermissionError as error:
            raise StoreError(
                f"{self.root / key} may not be read by this user; chmod it, or fix `store`."
            ) from error
        except OSError as error:
            raise self._unreadable(key, error) from error
        with file:
            try:
                yield file
            except OSError as error:
                raise self._unreadable(key, error) from error

    def _unreadable(self, key: str, error: OSError) -> IntegrityError | StoreUnavailableError:
        """A sector that is gone stays gone; a network drive may come back."""
        if error.errno == errno.EIO:
            return IntegrityError(
                f"{self.root / key} is damaged: {error.strerror}; look after its disk, and make "
                "the artifact again."
            )
        return StoreUnavailableError(
            f"{self.root / key} cannot be read: {error.strerror}; run the same command again."
        )

    def _path(self, key: str) -> Path:
        """The file of a key; S3 has keys that would lead out of a folder."""
        if key.startswith("/") or "\0" in key or ".." in key.split("/"):
            raise StoreError(f"{key!r} is no key of {self.root}: it leads out of the folder.")
        return self.root / key

    def _walk(self, folder: Path) -> Iterator[tuple[str, os.stat_result]]:
        for path in walked(folder):
            if path.name.startswith((PARTIAL_PREFIX, LOCK_PREFIX)):
                continue
            with suppress(FileNotFoundError):  # deleted between listing and stat
                yield path.relative_to(self.root).as_posix(), path.stat()

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Alone with a key; the kernel frees the lock of a process that dies.

        Keys share 256 locks, whose files stay: nobody holds two at a time.
        """
        lock = self.root / ".shardline" / f"{LOCK_PREFIX}{sha256(key.encode()).hexdigest()[:2]}"
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        with _lock_file(lock) as file:
            while not _taken(file):
                if time.monotonic() > deadline:
                    raise StoreUnavailableError(
                        f"another process has held the lock of {self.root / key} for "
                        f"{LOCK_TIMEOUT_S:.0f} s; end it, or wait, and run the same command again."
                    )
                time.sleep(LOCK_POLL_S)
            yield


def _lock_file(path: Path) -> Any:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w")
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror}; set store to a folder that this user may "
            "write, with all that is in it."
        ) from error


def _taken(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
            raise
        return False
    return True
