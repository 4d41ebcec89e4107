"""The folder on a machine's disk that keeps rows: entries, who uses them, and which have to go.

An entry is a folder of files of known size, named by a digest of what it holds. It appears by a
rename, so it is never half there; whoever uses it holds a shared lock on it, which the kernel drops
with the process. Entries may be deleted at any time: open files outlive their names. The folder may
hold other things, and other users' entries: what has no name of shardline's, and what this user may
not touch, stays.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shardline.errors import ResourceError
from shardline.spec.locations import local_path
from shardline.spec.train import CacheSpec

LOCK = "lock"
_ENTRY, _PARTIAL, _TRASH = "rows-", ".partial-rows-", ".trash-rows-"
_OWN = re.compile(r"rows-[0-9a-f]{32}|\.(?:partial|trash)-rows-[0-9a-f]{16}")
# Only a folder that is deleted again and again while it is made needs more than two.
MAX_ATTEMPTS = 20


@dataclass
class Entry:
    """An entry in use by this process."""

    path: Path
    lock: int
    """Descriptor of its lock file."""

    def close(self) -> None:
        """Let others evict it."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def cache_root(cache: CacheSpec) -> Path:
    """The folder that the spec names, or `shardline` in the user's cache folder.

    Raises:
        ResourceError: The spec names none, and the user has no home.
    """
    if cache.dir is not None:
        return local_path(cache.dir)
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named, "shardline")
    try:
        return Path.home() / ".cache" / "shardline"
    except RuntimeError as error:
        raise ResourceError(
            "there is no place to keep rows: this user has no home folder; set train.cache.dir to "
            "a folder on the worker's own disk, or XDG_CACHE_HOME."
        ) from error


def open_entry(
    root: Path, digest: str, *, files: Mapping[str, int], needed_bytes: int, max_bytes: int
) -> Entry:
    """An entry, made if there is none or if it is not whole.

    Args:
        root: The cache folder.
        digest: Of what the entry holds, 32 hexadecimal digits.
        files: Least bytes of every file. New ones are sparse, of just that size.
        needed_bytes: What the entry will take on disk; room is made when it is new.
        max_bytes: Size of the folder, after which the entries that were used longest ago go.

    Raises:
        ResourceError: The folder cannot be written.
    """
    path = root / f"{_ENTRY}{digest}"
    for _ in range(MAX_ATTEMPTS):
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            entry = _whole(path, files)
            if entry is not None:
                os.utime(entry.lock)
                return entry
            make_room(root, needed_bytes, max_bytes=max_bytes)
            _create(path, files)
        except FileNotFoundError:
            continue  # deleted under this process, the new entry maybe before it was locked
        except OSError as error:
            raise unwritable(root, error) from error
    raise ResourceError(f"cache folder {root} is emptied all the time; set train.cache.dir.")


def unwritable(root: Path, error: OSError) -> ResourceError:
    """The error for a folder that takes no more."""
    return ResourceError(
        f"cannot keep rows in {root}: {error.strerror}; set train.cache.dir (shardline.batches: "
        "cache) to a folder with room on the worker's own disk, or, for a new run, "
        "train.cache.max_bytes to 0 to read the store in every epoch."
    )


def make_room(root: Path, needed_bytes: int, *, max_bytes: int) -> None:
    """Remove entries that nobody uses, the ones used longest ago first, until the new one fits."""
    entries = sorted(_entries(root), key=lambda found: found[0])
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if total + needed_bytes <= max_bytes:
            return
        if _evict(path):
            total -= size


def _entries(root: Path) -> Iterator[tuple[float, int, Path]]:
    """When each entry was last opened, its bytes on disk, and where it is."""
    for path in root.iterdir():
        if not _OWN.fullmatch(path.name):
            continue
        try:
            if path.name.startswith((_PARTIAL, _TRASH)):
                used_s = 0.0  # left by a process that died, unless its lock is held
            else:
                used_s = (path / LOCK).stat().st_mtime
            yield used_s, sum(file.stat().st_blocks * 512 for file in path.iterdir()), path
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # no entry, gone meanwhile, or another user's


def _evict(path: Path) -> bool:
    """Delete an entry that nobody uses; whether it did."""
    if path.name.startswith(_TRASH):
        shutil.rmtree(path, ignore_errors=True)  # its lock file may have gone first
        return True
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.close(lock)
    return True


def _whole(path: Path, files: Mapping[str, int]) -> Entry | None:
    """The entry in use if it is whole; none is there afterwards if it is not."""
    entry = _in_use(path)
    if entry is None:
        if _has_no_lock(path):
            _remove(path)
        return None
    if _is_whole(path, files):
        return entry
    _remove(path)  # someone cut it
    entry.close()
    return None


def _in_use(path: Path) -> Entry | None:
    """The entry with a shared lock on it; None if there is none, or if it is just being evicted."""
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if (path / LOCK).stat().st_ino == os.fstat(lock).st_ino:
            return Entry(path, lock)
    except FileNotFoundError:
        pass  # evicted while this process waited for the lock
    os.close(lock)
    return None


def _is_whole(path: Path, files: Mapping[str, int]) -> bool:
    try:
        return all((path / name).stat().st_size >= size for name, size in files.items())
    except FileNotFoundError:
        return False


def _has_no_lock(path: Path) -> bool:
    """Whether a folder is there that can never be used."""
    try:
        found = path.stat()
        # Another process may put a whole entry in its place at any time.
        return not (path / LOCK).exists() and os.path.samestat(found, path.stat())
    except FileNotFoundError:
        return False


def _create(path: Path, files: Mapping[str, int]) -> None:
    partial = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
    partial.mkdir(mode=0o700)
    with (partial / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        for file, size in files.items():
            with (partial / file).open("wb") as made:
                made.truncate(size)
        try:
            partial.rename(path)
        except OSError:
            if not path.exists():
                raise
            shutil.rmtree(partial, ignore_errors=True)  # another process was faster


def _remove(path: Path) -> None:
    """Take the entry away at once, then delete it."""
    trash = path.with_name(f"{_TRASH}{secrets.token_hex(8)}")
    try:
        path.rename(trash)
    except FileNotFoundError:
        return
    shutil.rmtree(trash, ignore_errors=True)
