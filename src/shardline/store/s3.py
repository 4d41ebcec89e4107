"""An S3 bucket as a store. boto3 commits and lists; pyarrow reads columns; one factory makes both.

pyarrow's `S3FileSystem()` ignores `AWS_ENDPOINT_URL` (apache/arrow#49643) while boto3 honours it,
so a job that builds them apart can split silently across two stores.
"""

import os
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from shardline.errors import ConditionError, NotFoundError, StoreError, StoreUnavailableError

if TYPE_CHECKING:  # stubs only; the runtime import is below, where it is first needed
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
MAX_ATTEMPTS = 6
READ_BACKOFF_S = 0.1
# One request takes the fewest copies, and a killed process leaves no parts behind that cost money.
MAX_PUT_BYTES = 1 << 30
PART_BYTES = 64 << 20
# Raced conditional writes answer 409 while the other writer is still in flight.
MAX_CONFLICT_RETRIES = 10


@dataclass(frozen=True)
class S3Bytes:
    """Objects below `prefix` in `bucket`."""

    bucket: str
    prefix: str

    @classmethod
    def at(cls, uri: str) -> "S3Bytes":
        """The objects below an `s3://bucket/prefix` URI."""
        parts = urlsplit(uri)
        return cls(bucket=parts.netloc, prefix=parts.path.strip("/"))

    def read(self, key: str) -> bytes:
        """Content of an object."""
        return self.read_versioned(key)[0]

    def read_versioned(self, key: str) -> tuple[bytes, str]:
        """Content and ETag.

        The client retries requests; an answer whose body breaks off is up to its caller.
        """
        from botocore.exceptions import BotoCoreError

        attempt = 1
        with self._explained(key):
            while True:
                answer = _client().get_object(Bucket=self.bucket, Key=self._path(key))
                try:
                    return answer["Body"].read(), answer["ETag"]
                except BotoCoreError:
                    if attempt == MAX_ATTEMPTS:
                        raise
                time.sleep(READ_BACKOFF_S * 2**attempt)
                attempt += 1

    def write(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> None:
        """Create or replace an object; one too large for a request is sent in parts.

        With the digest, the server checks what arrived against that header, which is signed, and
        the body is read once less for each of the client's own digests: sending 150 MB takes 0.05 s
        of processor time instead of 0.29 s.
        """
        from boto3.s3.transfer import TransferConfig
        from pyarrow import BufferReader

        bucket, path = self.bucket, self._path(key)
        with self._explained(key):
            if len(data) > MAX_PUT_BYTES:
                config = TransferConfig(
                    multipart_threshold=MAX_PUT_BYTES,
                    multipart_chunksize=PART_BYTES,
                    use_threads=False,
                )
                _client().upload_fileobj(BufferReader(data), bucket, path, Config=config)
            elif sha256 is None:
                _client().put_object(Bucket=bucket, Key=path, Body=bytes(data))
            else:
                checksum = b64encode(bytes.fromhex(sha256)).decode()
                client = _client(signs_body=False)
                body = BufferReader(data)
                client.put_object(Bucket=bucket, Key=path, Body=body, ChecksumSHA256=checksum)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Single-part PUT with `If-None-Match: *`."""
        return self._put_on_condition(key, data, {"IfNoneMatch": "*"})

    def compare_and_swap(self, key: str, data: bytes, version: str) -> bool:
        """Single-part PUT with `If-Match`."""
        return self._put_on_condition(key, data, {"IfMatch": version})

    def scan(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Objects whose key starts with `prefix`."""
        with self._explained(prefix):
            pages = _client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._path(prefix)):
                for item in page.get("Contents", []):
                    yield self._key(item["Key"]), item["Size"], item["ETag"].strip('"')

    def list_folders(self, prefix: str) -> list[str]:
        """Common prefixes one level down."""
        folder = self._path(prefix).rstrip("/") + "/"
        names: list[str] = []
        with self._explained(prefix):
            pages = _client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=folder, Delimiter="/"):
                found = page.get("CommonPrefixes", [])
                names += [item["Prefix"][len(folder) :].rstrip("/") for item in found]
        return sorted(names)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._explained(key):
            _client().delete_object(Bucket=self.bucket, Key=self._path(key))

    def delete_folder(self, prefix: str) -> None:
        """Remove the objects below a prefix."""
        for key, _, _ in list(self.scan(prefix)):
            self.delete(key)

    def filesystem(self) -> tuple[Any, str]:
        """Arrow's S3 filesystem with the same endpoint and credentials, and the root path."""
        return _arrow_filesystem(), "/".join(part for part in (self.bucket, self.prefix) if part)

    def arrow_uri(self, key: str) -> str:
        """The URI with the endpoint, which Arrow does not take from the environment."""
        options = {"endpoint_override": "", "scheme": "https"}
        endpoint = urlsplit(_endpoint() or "")
        if endpoint.netloc:
            options = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
        query = urlencode({name: value for name, value in options.items() if value})
        return f"{self._uri(key)}?{query}"

    def _put_on_condition(self, key: str, data: bytes, condition: dict[str, str]) -> bool:
        from botocore.exceptions import ClientError

        for _ in range(MAX_CONFLICT_RETRIES):
            with self._explained(key):
                try:
                    _client().put_object(
                        Bucket=self.bucket,
                        Key=self._path(key),
                        Body=data,
                        **condition,  # type: ignore[arg-type]  # one of the two known conditions
                    )
                except ClientError as error:
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    if status == 412:
                        return False
                    if status == 409:
                        continue
                    if status in (400, 501):  # what servers say that do not know the condition
                        raise self._condition_error(key, error.response) from error
                    raise
                return True
        raise StoreUnavailableError(f"writers of {self._uri(key)} kept conflicting; run it again.")

    def _path(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _key(self, path: str) -> str:
        return path[len(self.prefix) + 1 :] if self.prefix else path

    def _uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._path(key)}"

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turn the client's errors into sentences that name bucket, key and way out."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise self._client_error(key, error.response) from error
        except BotoCoreError as error:
            # No credentials, a bad region or profile: nothing that waiting would mend.
            if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
                raise StoreError(
                    f"no credentials for {self._uri(key)}; set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or run with a role."
                ) from error
            raise StoreUnavailableError(
                f"{self._uri(key)} did not answer at {_endpoint() or 'AWS'}: {error}"
            ) from error

    def _client_error(self, key: str, response: Any) -> Exception:
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        code = response["Error"].get("Code", str(status))
        if code == "NoSuchBucket":
            return StoreError(f"bucket {self.bucket!r} does not exist; create it or fix `store`.")
        if status == 404:
            return NotFoundError(f"there is no {self._uri(key)}.")
        if status in (401, 403):
            return StoreError(
                f"{self._uri(key)} refused this identity ({code}); check the credentials and "
                "that they may read and write this prefix."
            )
        if _is_passing(status, code):
            return StoreUnavailableError(
                f"{self._uri(key)} answered {status} {code}; run it again."
            )
        return StoreError(
            f"{self._uri(key)} answered {status} {code}; check `store` and the endpoint, region "
            "and credentials it is reached with."
        )

    def _condition_error(self, key: str, response: Any) -> Exception:
        error = self._client_error(key, response)
        return ConditionError(str(error)) if isinstance(error, StoreError) else error


def _is_passing(status: int, code: str) -> bool:
    """Whether waiting may mend it. S3 reports an upload that stalled as 400 RequestTimeout."""
    return (status >= 500 and status != 501) or status == 429 or code == "RequestTimeout"


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _client(*, signs_body: bool | None = None) -> "S3Client":
    """The client; None leaves it to boto3 whether bodies are signed."""
    return _client_for(_endpoint(), os.environ.get("AWS_PROFILE"), signs_body)


@lru_cache(maxsize=8)
def _client_for(endpoint: str | None, profile: str | None, signs_body: bool | None) -> "S3Client":
    import boto3
    from botocore.config import Config

    # Path style: test servers and most S3-compatible ones have no wildcard DNS.
    settings: dict[str, Any] = {"addressing_style": "path"} if endpoint else {}
    if signs_body is not None:
        settings["payload_signing_enabled"] = signs_body
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        s3=settings,
    )
    session = boto3.Session(profile_name=profile)
    return session.client("s3", endpoint_url=endpoint, config=config)


def _arrow_filesystem() -> Any:
    import boto3
    from pyarrow.fs import S3FileSystem

    session = boto3.Session(profile_name=os.environ.get("AWS_PROFILE"))
    credentials = session.get_credentials()
    if credentials is None:
        raise StoreError("no AWS credentials found; set AWS_ACCESS_KEY_ID or AWS_PROFILE.")
    frozen = credentials.get_frozen_credentials()
    options: dict[str, Any] = {"region": session.region_name}
    endpoint = _endpoint()
    if endpoint:
        parts = urlsplit(endpoint)
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    return S3FileSystem(
        access_key=frozen.access_key,
        secret_key=frozen.secret_key,
        session_token=frozen.token,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=READ_TIMEOUT_S,
        **options,
    )
