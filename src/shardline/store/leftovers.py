"""When objects were written, and what broken-off writes left: for housekeeping alone."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from shardline.errors import NotFoundError
from shardline.spec.locations import local_path
from shardline.store.local import LOCK_PREFIX
from shardline.store.local_file import PARTIAL_PREFIX, walked
from shardline.store.s3 import S3Bytes
from shardline.store.store import Store


@dataclass(frozen=True, slots=True)
class Stored:
    """One object, or what a write that broke off has left of one."""

    key: str
    """Of a leftover, the partial file's, or that of the object which it was to become."""
    size: int
    modified_unix_s: float
    fingerprint: str
    """Changes whenever the content may have."""
    upload_id: str = ""
    """Of an S3 upload in parts that was never completed."""


def stored_objects(store: Store, prefix: str = "") -> Iterator[Stored]:
    """Objects below a prefix, with the time of their last change by the storage's clock."""
    if not store.uri.startswith("s3://"):
        found = (each for each in _files(store, prefix) if not _is_partial(each.key))
        yield from (each for each in found if each.key.startswith(prefix))
        return
    bucket = S3Bytes.at(store.uri)
    for item in bucket.objects(prefix):
        modified = item["LastModified"].timestamp()
        yield Stored(bucket.key_of(item), item["Size"], modified, item["ETag"])


def broken_off_writes(store: Store, prefix: str = "") -> Iterator[Stored]:
    """Partial files and uploads that nobody may complete; those that are under way, too.

    Raises:
        StoreError: This identity may not list uploads, or the server has none.
    """
    if not store.uri.startswith("s3://"):
        yield from (each for each in _files(store, prefix) if _is_partial(each.key))
        return
    bucket = S3Bytes.at(store.uri)
    for upload in bucket.uploads(prefix):
        parts: list[Any] = []
        with suppress(NotFoundError):  # it was completed, or given up, a moment ago
            parts += bucket.parts(upload)
        times = (upload["Initiated"], *(part["LastModified"] for part in parts))
        yield Stored(
            key=bucket.key_of(upload),
            size=sum(part["Size"] for part in parts),
            modified_unix_s=max(time.timestamp() for time in times),
            fingerprint=str(len(parts)),
            upload_id=upload["UploadId"],
        )


def discard_write(store: Store, leftover: Stored) -> None:
    """Remove what `broken_off_writes` found; what is gone already is no error."""
    if not leftover.upload_id:
        (local_path(store.uri) / leftover.key).unlink(missing_ok=True)
        return
    S3Bytes.at(store.uri).give_up(leftover.key, leftover.upload_id)


def _files(store: Store, prefix: str) -> Iterator[Stored]:
    """Files below the prefix's folder, by folder."""
    root = local_path(store.uri)
    for path in sorted(walked(root / prefix.rpartition("/")[0])):
        if path.name.startswith(LOCK_PREFIX):
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # deleted between listing and stat
        key = path.relative_to(root).as_posix()
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
        yield Stored(key, status.st_size, status.st_mtime, stamp)


def _is_partial(key: str) -> bool:
    return key.rpartition("/")[2].startswith(PARTIAL_PREFIX)
