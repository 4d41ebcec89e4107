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

# Where the next page begins; it gives them with a "Next" in front.
_MARKERS = {
    "list_multipart_uploads": ("KeyMarker", "UploadIdMarker"),
    "list_parts": ("PartNumberMarker",),
}


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
    for page in bucket.pages(prefix):
        for item in page.get("Contents", []):
            modified = item["LastModified"].timestamp()
            yield Stored(bucket._key(item["Key"]), item["Size"], modified, item["ETag"])


def broken_off_writes(store: Store, prefix: str = "") -> Iterator[Stored]:
    """Partial files and uploads that nobody may complete; those that are under way, too.

    Raises:
        StoreError: This identity may not list uploads, or the server has none.
    """
    if not store.uri.startswith("s3://"):
        yield from (each for each in _files(store, prefix) if _is_partial(each.key))
        return
    bucket = S3Bytes.at(store.uri)
    for page in _pages(bucket, "list_multipart_uploads", Prefix=bucket._path(prefix)):
        for item in page.get("Uploads", []):
            place = {"Key": item["Key"], "UploadId": item["UploadId"]}
            parts: list[Any] = []
            with suppress(NotFoundError):  # it was completed, or given up, a moment ago
                for found in _pages(bucket, "list_parts", **place):
                    parts += found.get("Parts", [])
            yield Stored(
                key=bucket._key(item["Key"]),
                size=sum(part["Size"] for part in parts),
                modified_unix_s=max(
                    each.timestamp()
                    for each in (item["Initiated"], *(part["LastModified"] for part in parts))
                ),
                fingerprint=str(len(parts)),
                upload_id=item["UploadId"],
            )


def discard_write(store: Store, leftover: Stored) -> None:
    """Remove what `broken_off_writes` found; what is gone already is no error."""
    if not leftover.upload_id:
        (local_path(store.uri) / leftover.key).unlink(missing_ok=True)
        return
    bucket = S3Bytes.at(store.uri)
    place: Any = {"Key": bucket._path(leftover.key), "UploadId": leftover.upload_id}
    with suppress(NotFoundError):
        bucket.ask(
            leftover.key,
            lambda client: client.abort_multipart_upload(Bucket=bucket.bucket, **place),
        )


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


def _pages(bucket: S3Bytes, operation: str, **request: Any) -> Iterator[dict[str, Any]]:
    """One answer after the other: each is asked for again by itself if it fails."""

    def ask(client: Any) -> dict[str, Any]:
        page: dict[str, Any] = getattr(client, operation)(Bucket=bucket.bucket, **request)
        return page

    while True:
        page = bucket.ask("", ask)
        yield page
        if not page.get("IsTruncated"):
            return
        request.update({marker: page[f"Next{marker}"] for marker in _MARKERS[operation]})
