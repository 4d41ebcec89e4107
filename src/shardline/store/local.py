"""A folder as a store: exclusive creation and compare-and-swap by hard links and a lock file."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from shardline.errors import NotFoundError, StoreError, StoreUnavailableError

# Readers skip names that start with it: a crash may leave one behind.
PARTIAL_PREFIX = ".partial-"
# The disk, the user's share of it, or the largest file that this process may write.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAX_WRITE_ATTEMPTS = 20


@dataclass(frozen=True)
class LocalBytes:
    """Objects are files; a file appears under its name only when it is complete."""

    root: Path

    def read(self, key: str) -> bytes:
        """Content of a file."""
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFoundError(f"there is no {self.root / key}.") from error

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Content and its digest, which serves as version."""
        data = self.read(key)
        return data, _version(data)

    def write(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> None:  # noqa: ARG002
        """Replace the file in one step."""

        def replace() -> bool:
            with self._finished_file(key, data) as finished:
                finished.replace(self.root / key)
            return True

        self._despite_deletions(key, replace)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Link a finished file to its name; the kernel lets one of several linkers win."""

        def link() -> bool:
            with self._finished_file(key, data) as finished:
                try:
                    os.link(finished, self.root / key)
                except FileExistsError:
                    return False
                except FileNotFoundError:
                    raise
                except OSError as error:
                    raise StoreError(
                        f"cannot make hard links in {self.root}: {error.strerror}; "
                        "set store to a folder on a file system that has them."
                    ) from error
                return True

        return self._despite_deletions(key, link)

    def compare_and_swap(self, key: str, data: bytes, version: str) -> bool:
        """Replace under a lock, so that no two writers compare with the same version."""
        with self._locked(key):
            if self.read_versioned(key)[1] != version:
                return False
            self.write(key, data)
            return True

    def scan(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Files whose key starts with `prefix`, sorted."""
        for key, status in sorted(self._walk(self._folder_of(prefix))):
            if key.startswith(prefix):
                yield key, status.st_size, f"{status.st_size}-{status.st_mtime_ns}"

    def list_folders(self, prefix: str) -> list[str]:
        """Sub-folders that hold at least one file."""
        folder = self.root / prefix
        if not folder.is_dir():
            return []
        candidates = (path for path in folder.iterdir() if path.is_dir())
        return sorted(path.name for path in candidates if any(self._walk(path)))

    def delete(self, key: str) -> None:
        """Remove a file and the folders it leaves empty."""
        path = self.root / key
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == self.root:
                break
            try:
                parent.rmdir()
            except OSError:
                break  # not empty, or gone already

    def delete_folder(self, prefix: str) -> None:
        """Remove the files below a folder, then the partial ones that dead writers left."""
        for key, _, _ in list(self.scan(prefix)):
            self.delete(key)
        shutil.rmtree(self.root / prefix, ignore_errors=True)

    def filesystem(self) -> tuple[Any, str]:
        """Arrow's local filesystem and the root path."""
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), str(self.root)

    def arrow_uri(self, key: str) -> str:
        """The path."""
        return str(self.root / key)

    def _folder_of(self, prefix: str) -> Path:
        return self.root / prefix.rpartition("/")[0]

    def _walk(self, folder: Path) -> Iterator[tuple[str, os.stat_result]]:
        for parent, _, names in os.walk(folder):
            for name in names:
                if name.startswith(PARTIAL_PREFIX):
                    continue
                path = Path(parent, name)
                try:
                    yield path.relative_to(self.root).as_posix(), path.stat()
                except FileNotFoundError:
                    continue  # deleted between listing and stat

    def _despite_deletions(self, key: str, write: Callable[[], bool]) -> bool:
        """Write, again if the folder went meanwhile: deletions remove folders they leave empty."""
        for _ in range(MAX_WRITE_ATTEMPTS):
            try:
                return write()
            except FileNotFoundError as error:
                gone = error
        raise StoreError(
            f"cannot write {self.root / key}: {gone.strerror}; its folder is being deleted, run "
            "the same command again when nothing else writes there."
        ) from gone

    @contextmanager
    def _finished_file(self, key: str, data: bytes | memoryview) -> Iterator[Path]:
        """A complete, synced file beside `key` under a name that readers skip."""
        target = self.root / key
        partial = target.parent / f"{PARTIAL_PREFIX}{os.getpid()}-{os.urandom(8).hex()}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            raise
        except OSError as error:
            with suppress(OSError):  # below a regular file even removing fails
                partial.unlink()
            if error.errno in NO_SPACE:
                raise StoreUnavailableError(
                    f"cannot write {target}: {error.strerror}; make room and run the same command "
                    "again, what was committed before is intact."
                ) from error
            raise StoreError(
                f"cannot write {target}: {error.strerror}; "
                "set store to a folder that this user may write."
            ) from error
        try:
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        lock = self.root / ".shardline" / f"lock-{sha256(key.encode()).hexdigest()[:16]}"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _version(data: bytes) -> str:
    return sha256(data).hexdigest()
