"""The one door to bytes: keys under a root URI, read, listed and committed the same way everywhere.

Two operations carry every commit protocol in shardline: `put_if_absent` makes an object exist
exactly once, `compare_and_swap` moves an existing one from a version that the caller has seen.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardline.errors import IntegrityError, NotFoundError, StoreUnavailableError
from shardline.spec.locations import local_path
from shardline.store.deletion import deletion_order
from shardline.store.local import LocalBytes
from shardline.store.local_file import PartialFile
from shardline.store.probe import prove
from shardline.store.s3 import S3Bytes
from shardline.store.sink import Sink
from shardline.store.storage import Bytes

FILE_PIECE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object."""

    key: str
    size: int
    fingerprint: str
    """Changes whenever the content may have: the S3 ETag, or size and modification time."""


@dataclass(frozen=True)
class Store:
    """All artifacts live under `uri`; every key is relative to it. Instances can be pickled."""

    uri: str

    @property
    def _bytes(self) -> Bytes:
        return _bytes_at(self.uri)

    def uri_of(self, key: str) -> str:
        """The full URI of a key."""
        return f"{self.uri}/{key}"

    def read(self, key: str) -> bytes:
        """The object's content.

        Raises:
            NotFoundError: There is no such object.
            StoreUnavailableError: The store did not answer, retries included.
        """
        return self._bytes.read(key)

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Content and the version to hand to `compare_and_swap`."""
        return self._bytes.read_versioned(key)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, or as many as there are.

        Raises:
            NotFoundError: There is no such object.
        """
        return self._bytes.read_range(key, start, length) if length > 0 else b""

    def read_to_file(self, key: str, path: Path, *, sha256: str | None = None) -> None:
        """Copy an object into a local file, which appears once it is whole.

        Args:
            key: What.
            path: Where to; its folder is made.
            sha256: The digest that its marker recorded.

        Raises:
            NotFoundError: There is no such object.
            IntegrityError: The content differs, or was replaced meanwhile.
        """
        with PartialFile(path) as partial:
            sink = Sink(partial.take)
            for piece in self._bytes.pieces(key):
                sink.write(piece)
            if sha256 is not None:
                check_digest(self, key, expected=sha256, found=sink.sha256)
            partial.replace()

    def write(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> None:
        """Create or replace an object that nothing depends on until a marker names it.

        Args:
            key: Where to.
            data: The content.
            sha256: Its digest, if it is known: an S3 server then checks what arrives.
        """
        self._bytes.write(key, data, sha256=sha256)

    @contextmanager
    def writing(self, key: str) -> Iterator[Sink]:
        """A file object for content larger than memory.

        The object is created or replaced when the block ends; if it raises, nothing changes.
        """
        with self._bytes.writing(key) as take:
            yield Sink(take)

    def write_file(self, key: str, path: Path, *, sha256: str | None = None) -> None:
        """Create or replace an object with the content of a local file, as `write` does.

        Args:
            key: Where to.
            path: The file.
            sha256: Its digest, if it is known.

        Raises:
            IntegrityError: The file has another digest; nothing was written.
        """
        with path.open("rb") as file, self.writing(key) as sink:
            while piece := file.read(FILE_PIECE_BYTES):
                sink.write(piece)
            if sha256 not in (None, sink.sha256):
                raise IntegrityError(
                    f"{path} has changed since its sha256 was {sha256[:12]}…; it is "
                    f"{sink.sha256[:12]}… now, and {self.uri_of(key)} was not written."
                )

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Commit an object; of any number of racing writers exactly one gets True."""
        return self._bytes.put_if_absent(key, data)

    def compare_and_swap(self, key: str, data: bytes, *, version: str) -> bool:
        """Replace an object only if it still has the version that the caller read."""
        return self._bytes.compare_and_swap(key, data, version)

    def exists(self, key: str) -> bool:
        """Whether an object has exactly this key."""
        first = next(iter(self._bytes.scan(key)), None)  # no key that starts with it comes earlier
        return first is not None and first[0] == key

    def scan(self, prefix: str) -> Iterator[Entry]:
        """Objects whose key starts with `prefix`, in key order."""
        for key, size, fingerprint in self._bytes.scan(prefix):
            yield Entry(key, size, fingerprint)

    def list_folders(self, prefix: str) -> list[str]:
        """Names directly below the folder `prefix` that hold objects, sorted."""
        return self._bytes.list_folders(prefix)

    def delete(self, key: str) -> None:
        """Remove an object; one that is already gone is no error."""
        self._bytes.delete(key)

    def delete_folder(self, prefix: str) -> None:
        """Remove every object below a folder, markers first, and what broken-off writes left."""
        folder = prefix.rstrip("/") + "/"
        for keys in deletion_order(entry.key for entry in self.scan(folder)):
            self._bytes.delete_all(keys)
        self._bytes.sweep(folder)

    def filesystem(self) -> tuple[Any, str]:
        """A `pyarrow.fs.FileSystem` and the root path in it, for Arrow readers.

        It can be pickled, holds no credentials then, and outlives those it was made with.
        """
        return self._bytes.filesystem()

    @contextmanager
    def explaining(self, key: str) -> Iterator[None]:
        """Turn what Arrow raises over an object in the block into a sentence.

        Raises:
            NotFoundError: There is no such object.
            StoreUnavailableError: The S3 server failed, Arrow's retries included.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise NotFoundError.at(self.uri_of(key)) from error
        except OSError as error:
            if not self.uri.startswith("s3://"):
                raise
            raise StoreUnavailableError(
                f"{self.uri_of(key)} could not be reached: {error}; check that the server is up "
                "and that this identity may use it, and run the same command again."
            ) from error

    def probe(self) -> None:
        """Prove that the store takes writes and honours conditional ones; once per process.

        Raises:
            StoreError: It does not; without them two writers could both believe they committed.
        """
        prove(self._bytes, self.uri)


def open_store(uri: str) -> Store:
    """The store at an absolute URI, proven to be usable.

    Raises:
        StoreError: It cannot be written, or ignores conditional writes.
    """
    store = Store(uri.rstrip("/"))
    store.probe()
    return store


def read_verified(store: Store, key: str, *, sha256: str) -> bytes:
    """An object's content, checked against the hash its marker recorded.

    Raises:
        IntegrityError: The content differs.
    """
    data = store.read(key)
    check_digest(store, key, expected=sha256, found=hashlib.sha256(data).hexdigest())
    return data


def check_digest(store: Store, key: str, *, expected: str, found: str) -> None:
    """Hold an object's digest against the one its marker recorded.

    Raises:
        IntegrityError: They differ.
    """
    if found != expected:
        raise IntegrityError(
            f"{store.uri_of(key)} is damaged: its marker promises sha256 {expected[:12]}…, "
            f"it has {found[:12]}…; restore the file or make the artifact again."
        )


def _bytes_at(uri: str) -> Bytes:
    if uri.startswith("s3://"):
        return S3Bytes.at(uri)
    return LocalBytes(local_path(uri))
