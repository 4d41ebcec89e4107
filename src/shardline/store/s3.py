"""An S3 bucket as a store. boto3 commits and lists; Arrow reads columns."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from shardline.errors import IntegrityError, NotFoundError, ShardlineError, StoreError
from shardline.store.retrying import retried
from shardline.store.s3_conditional import ConditionalPut
from shardline.store.s3_connection import client, endpoint, settings_digest
from shardline.store.s3_errors import condition_explained, explained, is_passing, status_of
from shardline.store.s3_upload import Upload, put
from shardline.store.sink import Take

if TYPE_CHECKING:  # stubs only
    from mypy_boto3_s3 import S3Client

# One request takes the fewest copies, and a killed process leaves no parts behind that cost money.
MAX_PUT_BYTES = 1 << 30
PIECE_BYTES = 16 << 20
MAX_DELETED_AT_ONCE = 1000
RANGE_NOT_SATISFIABLE = 416
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# Where the next page of a listing begins: what is sent, and where the answer has it.
_NEXT = {
    "list_objects_v2": {"ContinuationToken": "NextContinuationToken"},
    "list_multipart_uploads": {
        "KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker",
    },
    "list_parts": {"PartNumberMarker": "NextPartNumberMarker"},
}  # fmt: skip
# What servers say that have no DeleteObjects.
_NO_BATCHES = (400, 403, 405, 411, 501)

T = TypeVar("T")


@dataclass(frozen=True)
class S3Bytes:
    """Objects below `prefix` in `bucket`."""

    bucket: str
    prefix: str

    @classmethod
    def at(cls, uri: str) -> "S3Bytes":
        """The objects below an `s3://bucket/prefix` URI.

        Raises:
            StoreError: It holds credentials.
        """
        parts = urlsplit(uri)
        if "@" in parts.netloc:
            raise StoreError(
                "an s3:// URI holds credentials, which would be saved with the spec; write "
                f"s3://{parts.netloc.rpartition('@')[2]}{parts.path} and set AWS_ACCESS_KEY_ID "
                "and AWS_SECRET_ACCESS_KEY, or a profile."
            )
        return cls(bucket=parts.netloc, prefix=parts.path.strip("/"))

    @property
    def identity(self) -> str:
        """Bucket, endpoint and identity."""
        return f"{self.bucket}/{self.prefix} {endpoint()} {settings_digest()}"

    @property
    def name(self) -> str:
        """The server, for sentences."""
        return f"the S3 server at {endpoint()}"

    def read(self, key: str) -> bytes:
        """Content of an object."""
        return self.read_versioned(key)[0]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Content and ETag."""

        def request(client: "S3Client") -> tuple[bytes, str]:
            answer = client.get_object(**self.place(key))
            return answer["Body"].read(), answer["ETag"]

        return self.ask(key, request)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Some bytes of an object."""
        return self._range(key, start, length)[0]

    def pieces(self, key: str) -> Iterator[bytes]:
        """Content of an object, all of one version."""
        start, version = 0, None
        while True:
            data, found, size = self._range(key, start, PIECE_BYTES)
            if version not in (None, found):
                raise IntegrityError(f"{self._uri(key)} was replaced while it was read; try again.")
            yield data
            start, version = start + len(data), found
            if start >= size:
                return

    def write(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> None:
        """Create or replace an object; one too large for a request is sent in parts."""
        if len(data) <= MAX_PUT_BYTES:
            put(self, key, data, sha256=sha256)
            return
        with self.writing(key) as take:
            take(memoryview(data))

    @contextmanager
    def writing(self, key: str) -> Iterator[Take]:
        """Create or replace an object with what is taken in the block."""
        upload = Upload(self, key)
        try:
            yield upload.take
            upload.finish()
        except BaseException:  # whatever broke it off, parts that stay cost money
            upload.abort()
            raise

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Single-part PUT with `If-None-Match: *`."""
        return self._put_on_condition(key, data, None)

    def compare_and_swap(self, key: str, data: bytes, version: str) -> bool:
        """Single-part PUT with `If-Match`."""
        return self._put_on_condition(key, data, version)

    def scan(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Objects whose key starts with `prefix`."""
        for item in self.objects(prefix):
            yield self.key_of(item), item["Size"], item["ETag"].strip('"')

    def objects(self, prefix: str) -> Iterator[Any]:
        """What the server says of each object whose key starts with `prefix`."""
        for page in self._pages("list_objects_v2", Prefix=self._path(prefix)):
            yield from page.get("Contents", [])

    def uploads(self, prefix: str) -> Iterator[Any]:
        """What it says of each upload in parts that is under way, or that broke off."""
        for page in self._pages("list_multipart_uploads", Prefix=self._path(prefix)):
            yield from page.get("Uploads", [])

    def parts(self, upload: Any) -> Iterator[Any]:
        """What it says of each part of an upload.

        Raises:
            NotFoundError: It was completed, or given up.
        """
        for page in self._pages("list_parts", Key=upload["Key"], UploadId=upload["UploadId"]):
            yield from page.get("Parts", [])

    def give_up(self, key: str, upload_id: str) -> None:
        """Free the parts of an upload; one that is gone already is no error."""
        with suppress(NotFoundError):
            self.ask(
                key,
                lambda client: client.abort_multipart_upload(**self.place(key), UploadId=upload_id),
            )

    def list_folders(self, prefix: str) -> list[str]:
        """Common prefixes one level down."""
        folder = prefix.rstrip("/") + "/" if prefix else ""
        start = len(self._path(folder))
        return sorted(
            item["Prefix"][start:].rstrip("/")
            for page in self._pages("list_objects_v2", Prefix=self._path(folder), Delimiter="/")
            for item in page.get("CommonPrefixes", [])
        )

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.ask(key, lambda client: client.delete_object(**self.place(key)))

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand a request."""
        waiting: list[str] = []
        alone: list[str] = []
        for key in keys:
            (alone if _NOT_IN_XML.search(key) else waiting).append(key)
        for key in alone:
            self.delete(key)
        for first in range(0, len(waiting), MAX_DELETED_AT_ONCE):
            self._delete_batch(waiting[first : first + MAX_DELETED_AT_ONCE])

    def sweep(self, prefix: str) -> None:
        """Free the parts of uploads that broke off, if this identity may."""
        # Permissions of their own, and no part of what all S3 servers have.
        with suppress(StoreError, NotFoundError):
            for upload in list(self.uploads(prefix)):
                self.give_up(self.key_of(upload), upload["UploadId"])

    def filesystem(self) -> tuple[Any, str]:
        """Arrow's S3 filesystem with the same endpoint and credentials, and the root path."""
        from shardline.store.s3_arrow import lasting_filesystem

        return lasting_filesystem(), "/".join(part for part in (self.bucket, self.prefix) if part)

    def ask(
        self, key: str, request: "Callable[[S3Client], T]", *, signs_body: bool | None = None
    ) -> T:
        """What a request returns, tried again while its errors may pass.

        Raises:
            ShardlineError: The sentence for what stayed wrong.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return retried(lambda: request(client(signs_body=signs_body)), passes=is_passing)
        except (ClientError, BotoCoreError) as error:
            raise self._told(error, key) from error

    def place(self, key: str) -> dict[str, Any]:
        """Bucket and path as request arguments."""
        return {"Bucket": self.bucket, "Key": self._path(key)}

    def key_of(self, item: Any) -> str:
        """The key of an object or upload that the server lists."""
        return self._key(item["Key"])

    def _range(self, key: str, start: int, length: int) -> tuple[bytes, str, int]:
        """Bytes, ETag and size of the whole object."""
        from botocore.exceptions import ClientError

        def request(client: "S3Client") -> tuple[bytes, str, int]:
            wanted = f"bytes={start}-{start + length - 1}"
            try:
                answer = client.get_object(**self.place(key), Range=wanted)
            except ClientError as error:
                if status_of(error) != RANGE_NOT_SATISFIABLE:
                    raise
                head = client.head_object(**self.place(key))
                return b"", head["ETag"], head["ContentLength"]
            size = int(answer["ContentRange"].rpartition("/")[2])
            return answer["Body"].read(), answer["ETag"], size

        return self.ask(key, request)

    def _put_on_condition(self, key: str, data: bytes, version: str | None) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return ConditionalPut(self.place(key), data, version).won()
        except (ClientError, BotoCoreError) as error:
            raise self._told(error, key, by=condition_explained) from error

    def _pages(self, operation: str, **request: Any) -> Iterator[Any]:
        """Answers of a listing, one after the other: each is asked for again if it fails."""

        def ask(client: "S3Client") -> Any:
            return getattr(client, operation)(Bucket=self.bucket, **request)

        where = self._key(request.get("Prefix", request.get("Key", "")))
        while True:
            page = self.ask(where, ask)
            yield page
            if not page.get("IsTruncated"):
                return
            request.update({sent: page[found] for sent, found in _NEXT[operation].items()})

    def _delete_batch(self, keys: list[str]) -> None:
        objects = [{"Key": self._path(key)} for key in keys]
        batch: Any = {"Bucket": self.bucket, "Delete": {"Objects": objects, "Quiet": True}}
        try:
            answer = self.ask(keys[0], lambda client: client.delete_objects(**batch))
        except ShardlineError as error:
            if (status_of(error.__cause__) or 0) not in _NO_BATCHES:
                raise
            failed = keys
        else:
            failed = [self._key(each["Key"]) for each in answer.get("Errors", [])]
        for key in failed:  # one by one, with retries, and a sentence for what stays wrong
            self.delete(key)

    def _path(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _key(self, path: str) -> str:
        return path[len(self.prefix) + 1 :] if self.prefix else path

    def _uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._path(key)}"

    def _told(
        self, error: Exception, key: str, *, by: Callable[..., ShardlineError] = explained
    ) -> ShardlineError:
        return by(error, uri=self._uri(key), bucket=self.bucket, endpoint=endpoint())
