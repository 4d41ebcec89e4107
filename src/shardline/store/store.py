"""The one door to bytes: keys under a root URI, read, listed and committed the same way everywhere.

Two operations carry every commit protocol in shardline: `put_if_absent` makes an object exist
exactly once, `compare_and_swap` moves an existing one from a version that the caller has seen.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Never, Protocol

from shardline.errors import ConditionError, IntegrityError, StoreError
from shardline.spec.locations import local_path
from shardline.store.local import LocalBytes
from shardline.store.s3 import S3Bytes

PROBE_KEY = ".shardline/probe"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object."""

    key: str
    size: int
    fingerprint: str
    """Changes whenever the content may have: the S3 ETag, or size and modification time."""


class Bytes(Protocol):
    """What a storage system must offer; keys are full paths below the root."""

    def read(self, key: str) -> bytes:
        """Content."""
        ...

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Content and version."""
        ...

    def write(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> None:
        """Create or replace."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Create, or False."""
        ...

    def compare_and_swap(self, key: str, data: bytes, version: str) -> bool:
        """Replace that version, or False."""
        ...

    def scan(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Key, size and fingerprint below a prefix."""
        ...

    def list_folders(self, prefix: str) -> list[str]:
        """Names one level down."""
        ...

    def delete(self, key: str) -> None:
        """Remove."""
        ...

    def delete_folder(self, prefix: str) -> None:
        """Remove all below a prefix that ends in a slash, in key order."""
        ...

    def filesystem(self) -> tuple[Any, str]:
        """Arrow filesystem and root path."""
        ...

    def arrow_uri(self, key: str) -> str:
        """URI for Arrow, without credentials."""
        ...


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

    def write(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> None:
        """Create or replace an object that nothing depends on until a marker names it.

        Args:
            key: Where to.
            data: The content.
            sha256: Its digest, if it is known: an S3 server then checks what arrives.
        """
        self._bytes.write(key, data, sha256=sha256)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Commit an object; of any number of racing writers exactly one gets True."""
        return self._bytes.put_if_absent(key, data)

    def compare_and_swap(self, key: str, data: bytes, *, version: str) -> bool:
        """Replace an object only if it still has the version that the caller read."""
        return self._bytes.compare_and_swap(key, data, version)

    def exists(self, key: str) -> bool:
        """Whether an object has exactly this key."""
        return any(found == key for found, _, _ in self._bytes.scan(key))

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
        """Remove every object below a folder, and what broken-off writes left there."""
        self._bytes.delete_folder(prefix.rstrip("/") + "/")

    def filesystem(self) -> tuple[Any, str]:
        """A `pyarrow.fs.FileSystem` and the root path in it, for Arrow readers."""
        return self._bytes.filesystem()

    def arrow_uri(self, key: str) -> str:
        """A location that any process can hand to Arrow, with credentials of its own.

        A pickled `S3FileSystem` would carry this process's secrets with it.
        """
        return self._bytes.arrow_uri(key)

    def probe(self) -> None:
        """Prove that the store takes writes and honours conditional ones.

        Raises:
            StoreError: It does not; without them two writers could both believe they committed.
        """
        mine = os.urandom(8).hex().encode()
        try:
            self._probe_conditions(mine)
        except ConditionError:
            # A request that is at fault in another way fails without its condition, too.
            self.write(PROBE_KEY, mine)
            self._refuse("conditional writes are not supported")

    def _probe_conditions(self, mine: bytes) -> None:
        self.put_if_absent(PROBE_KEY, mine)
        if self.put_if_absent(PROBE_KEY, mine):
            self._refuse("a conditional write (If-None-Match: *) replaced an existing object")
        _, version = self.read_versioned(PROBE_KEY)
        moved = self.compare_and_swap(PROBE_KEY, mine, version=version)
        if moved and self.compare_and_swap(PROBE_KEY, os.urandom(8), version="0" * 32):
            self._refuse("a write with an outdated If-Match version was accepted")

    def _refuse(self, reason: str) -> Never:
        raise StoreError(
            f"store {self.uri} cannot be used: {reason}; choose a server with conditional writes."
        )


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
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise IntegrityError(
            f"{store.uri_of(key)} is damaged: its marker promises sha256 {sha256[:12]}…, "
            f"it has {found[:12]}…; restore the file or make the artifact again."
        )
    return data


def _bytes_at(uri: str) -> Bytes:
    if uri.startswith("s3://"):
        return S3Bytes.at(uri)
    return LocalBytes(local_path(uri))
