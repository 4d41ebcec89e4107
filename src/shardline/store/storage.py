"""What a storage system must offer to be a store; keys are full paths below its root."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from shardline.store.sink import Take


class Bytes(Protocol):
    """Operations of one system; errors are those that `Store` documents."""

    @property
    def identity(self) -> str:
        """Where the root is and as whom it is reached."""
        ...

    @property
    def name(self) -> str:
        """The storage system, for sentences."""
        ...

    def read(self, key: str) -> bytes:
        """Content."""
        ...

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Content and version."""
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Some of the content."""
        ...

    def pieces(self, key: str) -> Iterator[bytes]:
        """Content of one version, piece by piece."""
        ...

    def write(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> None:
        """Create or replace."""
        ...

    def writing(self, key: str) -> AbstractContextManager[Take]:
        """Create or replace when the block ends well."""
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

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove in any order."""
        ...

    def sweep(self, prefix: str) -> None:
        """Remove what broken-off writes left below a prefix that ends in a slash."""
        ...

    def filesystem(self) -> tuple[Any, str]:
        """Arrow filesystem and root path."""
        ...
