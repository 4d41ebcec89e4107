"""The files of a raw source: listed, opened and fingerprinted, on a local disk and on S3 alike."""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from shardline.errors import DataError, NotFoundError, StoreUnavailableError
from shardline.spec.data import LabelsTable, Source
from shardline.spec.locations import absolute, local_path
from shardline.store import Entry, Store

SUFFIXES = {
    "images": (".png", ".jpg", ".jpeg", ".bmp", ".gif"),
    "csv": (".csv", ".tsv", ".txt"),
    "parquet": (".parquet", ".pq"),
    "json": (".jsonl", ".ndjson", ".json"),
    "arrow": (".arrow", ".feather", ".ipc", ".arrows"),
}
PACKED = (".gz", ".zst", ".zstd")
# First bytes of packed files, whatever their names.
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
SOURCE_KEY = "data.source.path"
_GLOB = re.compile(r"[*?\[]")
# Larger files are hashed as a stream, smaller ones in one request.
WHOLE_READ_BYTES = 8 << 20
STREAM_BYTES = 4 << 20
MAX_HASHERS = 16


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the source."""

    name: str
    """Relative to the source, with forward slashes: what users see."""
    key: str
    """Where it lies in the source's store."""
    size: int
    stamp: str = ""
    """What the storage says of its content without reading it; empty if nothing."""


@dataclass(frozen=True)
class SourceFiles:
    """All files of a source, in the order of their names."""

    uri: str
    """Absolute location as the spec gives it."""
    store: Store
    """The storage they lie in, read-only to shardline."""
    files: tuple[SourceFile, ...]

    def read(self, file: SourceFile) -> bytes:
        """The whole content of a file.

        Raises:
            DataError: It cannot be read, or is gone.
            StoreUnavailableError: The store did not answer, retries included.
        """
        with self._explained(file):
            return self.store.read(file.key)

    @contextmanager
    def opened(self, file: SourceFile, *, seekable: bool = False) -> Iterator[Any]:
        """An Arrow input stream (or file, when `seekable`) over a file; errors as in `read`."""
        with self._explained(file):
            filesystem, root = self.store.filesystem()
            opener = filesystem.open_input_file if seekable else filesystem.open_input_stream
            options = {} if seekable else {"compression": None}
            with opener(f"{root}/{file.key}", **options) as stream:
                yield stream

    @contextmanager
    def unpacked(self, file: SourceFile) -> Iterator[Any]:
        """A stream of the content that a gzip or zstd file holds, or of the file itself."""
        with self._explained(file), self.opened(file) as stream:
            head = stream.read(len(max(MAGIC, key=len)))
            whole = pa.PythonFile(_Chained(head, stream), mode="r")
            codec = next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)
            yield pa.CompressedInputStream(whole, codec) if codec else whole

    def is_packed(self, file: SourceFile) -> bool:
        """Whether a file is packed by gzip or zstd, told by its first bytes."""
        with self.opened(file) as stream:
            return bool(stream.read(len(max(MAGIC, key=len))).startswith(tuple(MAGIC)))

    def part(self, files: Sequence[SourceFile]) -> "SourceFiles":
        """The same source with some of its files."""
        return SourceFiles(self.uri, self.store, tuple(files))

    @contextmanager
    def _explained(self, file: SourceFile) -> Iterator[None]:
        where = self.store.uri_of(file.key)
        try:
            yield
        except (NotFoundError, FileNotFoundError) as error:
            raise DataError(f"{where} is gone since it was listed; prepare again.") from error
        except OSError as error:
            # Arrow also says OSError when the bytes of a Parquet file make no sense.
            if where.startswith("s3://"):
                raise StoreUnavailableError(
                    f"cannot read {where}: {_said(error)}; run the same command again."
                ) from error
            raise DataError(
                f"cannot read {where}: {_said(error)}; mend or remove the file."
            ) from error
        except (pa.ArrowException, MemoryError, UnicodeError) as error:
            # Damaged bytes promise anything: sizes beyond all memory, names that are no text.
            raise DataError(
                f"cannot read {where}: {_said(error)}; mend or remove the file."
            ) from error


def _said(error: Exception) -> str:
    """An error of Arrow's inside a sentence."""
    return " ".join(str(error).split()).rstrip(".")


class _Chained(io.RawIOBase):
    """Bytes that were read ahead, then the rest of a stream."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none at the end."""
        head = self._head if size < 0 else self._head[:size]
        self._head = self._head[len(head) :]
        more: bytes = self._rest.read() if size < 0 else self._rest.read(size - len(head))
        return head + more if head else more


def list_source(source: Source | LabelsTable, *, base: Path, key: str = SOURCE_KEY) -> SourceFiles:
    """The files that a source's path names: one file, a folder's files of the format, or a glob's.

    In folders, names that start with `.` are skipped, and for tables also those with `_`, as Arrow
    and Spark do.

    Args:
        source: The spec's source.
        base: Folder that a relative path counts from.
        key: The spec's key that gives the path.

    Raises:
        DataError: There is no such path, it may not be read, or it holds no file of the format.
    """
    # A function is said as FILE:NAME; the file is what there is to list.
    path = source.path.rpartition(":")[0] if source.format == "python" else source.path
    uri = absolute(path, base=base)
    root, pattern = _split_glob(uri)
    store, prefix, entries = _entries(root, key)
    if pattern is None and len(entries) == 1 and entries[0].key == prefix:
        return SourceFiles(uri, store, (_single(source, uri, entries[0], key),))
    chosen = _chooser(source, pattern)
    found = [SourceFile(e.key[len(prefix) :], e.key, e.size, e.fingerprint) for e in entries]
    files = tuple(sorted((f for f in found if chosen(f.name)), key=lambda file: file.name))
    if not files:
        kinds = ", ".join(SUFFIXES[source.format])
        wanted = f"file matches {pattern!r}" if pattern else f"{kinds} file is there"
        raise DataError(f"{key} {uri} has nothing to read: no {wanted}.")
    for file in files:
        if any("\ud800" <= letter <= "\udfff" for letter in file.name):
            raise DataError(f"the name {file.name!a} in {uri} is not UTF-8; rename the file.")
    return SourceFiles(uri, store, files)


@dataclass(frozen=True, slots=True)
class Content:
    """What reading a file's bytes once has told."""

    sha256: str
    has_quotes: bool
    """Whether there is a double quote in it, behind a header whose own ones are closed."""


def read_contents(
    source: SourceFiles, known: Mapping[tuple[str, str], Content] | None = None
) -> dict[str, Content]:
    """The content of every file by relative name, several files at a time.

    Args:
        source: The files.
        known: Contents by name and stamp that need no reading.
    """

    def content(file: SourceFile) -> Content:
        found = (known or {}).get((file.name, file.stamp)) if file.stamp else None
        return found or _content(source, file)

    with ThreadPoolExecutor(min(MAX_HASHERS, os.cpu_count() or 1)) as pool:
        contents = pool.map(content, source.files)
        return {file.name: content for file, content in zip(source.files, contents, strict=True)}


def fingerprint(contents: Mapping[str, Content]) -> str:
    """Sha256 over sorted relative names and content hashes."""
    lines = "".join(f"{content.sha256}  {name}\n" for name, content in sorted(contents.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _content(source: SourceFiles, file: SourceFile) -> Content:
    if file.size <= WHOLE_READ_BYTES:
        data = source.read(file)
        return Content(hashlib.sha256(data).hexdigest(), _has_quotes(data, is_first=True))
    digest = hashlib.sha256()
    has_quotes = has_begun = False
    with source.opened(file) as stream:
        while chunk := stream.read(STREAM_BYTES):
            has_quotes = has_quotes or _has_quotes(chunk, is_first=not has_begun)
            digest.update(chunk)
            has_begun = True
    return Content(digest.hexdigest(), has_quotes)


def _has_quotes(chunk: bytes, *, is_first: bool) -> bool:
    """Whether a record of these may go on behind a line break."""
    header = chunk.find(b"\n") + 1 if is_first else 0
    return chunk.find(b'"', header) >= 0 or chunk.count(b'"', 0, header) % 2 == 1


def _split_glob(uri: str) -> tuple[str, str | None]:
    """The folder above the first wildcard, and the pattern below it."""
    if not _GLOB.search(uri) or (uri.startswith("file://") and local_path(uri).exists()):
        return uri, None
    parts = uri.split("/")
    first = next(i for i, part in enumerate(parts) if _GLOB.search(part))
    return "/".join(parts[:first]), "/".join(parts[first:])


def _entries(uri: str, key: str) -> tuple[Store, str, list[Entry]]:
    """Store, key prefix of relative names, and one file or all files below."""
    scheme, _, path = uri.partition("://")
    if scheme == "s3" and "/" not in path:
        store, prefix = Store(uri), ""
        return store, prefix, list(store.scan(prefix))
    parent, _, name = uri.rpartition("/")
    store = Store(parent)
    if scheme == "file":
        local = _readable(local_path(uri), key)
        if local.is_file():
            return store, name, [Entry(name, local.stat().st_size, "")]
    else:
        entry = next(store.scan(name), None)  # in key order, so the exact key comes first
        if entry is not None and entry.key == name:
            return store, name, [entry]
    entries = list(store.scan(f"{name}/"))
    if scheme == "s3" and not entries:
        raise DataError(f"{key} {uri} does not exist; check the bucket and prefix.")
    return store, f"{name}/", entries


def _readable(path: Path, key: str) -> Path:
    if not path.exists():
        raise DataError(f"{key} {path} does not exist; check `{key}`.")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise DataError(f"{key} {path} may not be read by this user; chmod it.")
    return path


def _single(source: Source | LabelsTable, uri: str, entry: Entry, key: str) -> SourceFile:
    if source.format == "images":
        raise DataError(f"{key} {uri} is a file; images need a folder with one folder per class.")
    return SourceFile(PurePosixPath(entry.key).name, entry.key, entry.size)


def _chooser(source: Source | LabelsTable, pattern: str | None) -> Any:
    if pattern is not None:
        return re.compile(_glob_regex(pattern)).fullmatch
    skipped = (".",) if source.format == "images" else (".", "_")
    suffixes = SUFFIXES[source.format]
    if source.format in ("csv", "json"):
        suffixes += tuple(suffix + packed for suffix in suffixes for packed in PACKED)

    def chosen(name: str) -> bool:
        hidden = any(part.startswith(skipped) for part in name.split("/"))
        return not hidden and name.lower().endswith(suffixes)

    return chosen


def _glob_regex(pattern: str) -> str:
    """`**` spans folders, `*` and `?` stay inside one."""
    token = re.compile(r"(\*\*/)|(\*\*)|(\*)|(\?)|(\[!?[^]]+\])|(.)")
    replaced = ["(?:.*/)?", ".*", "[^/]*", "[^/]"]
    regex = ""
    for match in token.finditer(pattern):
        which = match.lastindex or 6
        if which <= len(replaced):
            regex += replaced[which - 1]
        elif which == 5:
            regex += match.group().replace("[!", "[^", 1)
        else:
            regex += re.escape(match.group())
    return regex
