"""The connection to S3, by the AWS conventions: one place makes boto3's clients and Arrow's.

pyarrow's `S3FileSystem()` ignores `AWS_ENDPOINT_URL` (apache/arrow#49643) and knows fewer kinds of
profiles than boto3, so a job that builds them apart can split silently across two stores.
"""

import hashlib
import os
import re
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shardline.errors import StoreError

if TYPE_CHECKING:  # stubs only; the runtime imports are below, where they are first needed
    from boto3 import Session
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
# A conditional put races as many connections as a probe has contenders.
MAX_CONNECTIONS = 32
_AWS_HOST = re.compile(r"s3([.-][a-z0-9.-]+)?\.amazonaws\.com(\.cn)?")
# The one variable that is set here.
_OWN = "AWS_REQUEST_CHECKSUM_CALCULATION"
_making = Lock()


def client(*, signs_body: bool | None = None) -> "S3Client":
    """The client; None leaves it to boto3 whether bodies are signed.

    Raises:
        StoreError: The endpoint is no address, or holds a password.
    """
    with _making:  # boto3 sessions do not make clients in several threads
        return _client_for(settings_digest(), signs_body)


def endpoint() -> str:
    """Where requests go, for sentences."""
    from botocore.exceptions import BotoCoreError

    try:
        return str(client().meta.endpoint_url)
    except BotoCoreError:  # which is what the sentence is about
        return "AWS"


def settings_digest() -> str:
    """Changes whenever the AWS_* variables do; says nothing of their values."""
    names = sorted(name for name in os.environ if name.startswith("AWS_") and name != _OWN)
    given = [(name, os.environ.get(name)) for name in names]
    return hashlib.sha256(repr(given).encode()).hexdigest()


def arrow_filesystem() -> Any:
    """Arrow's S3 filesystem with the client's endpoint and its credentials as they are now."""
    credentials = _session_for(settings_digest()).get_credentials()
    if credentials is None:
        raise StoreError(
            f"no credentials for {endpoint()}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "AWS_PROFILE, or run with a role."
        )
    now = credentials.get_frozen_credentials()  # renewed when they are about to expire
    return _arrow_filesystem_for(
        settings_digest(), _Keys(now.access_key, now.secret_key, now.token)
    )


class _Keys(tuple[str | None, ...]):
    """Access key, secret key and token, or None; a traceback that prints variables has dots."""

    __slots__ = ()

    def __new__(cls, *keys: str | None) -> "_Keys":
        return super().__new__(cls, keys[:3])

    def __repr__(self) -> str:
        return "_Keys(...)"


@lru_cache(maxsize=8)
def _session_for(settings: str) -> "Session":  # noqa: ARG001  # what the session was made from
    import boto3

    return boto3.Session()


@lru_cache(maxsize=16)
def _client_for(settings: str, signs_body: bool | None) -> "S3Client":
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": 1},  # see `retrying`
        max_pool_connections=MAX_CONNECTIONS,
        # Uploads carry a checksum in their headers. boto3's own are trailers, which Ceph answers
        # with 411; and of ranges some servers answer the whole object's.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={} if signs_body is None else {"payload_signing_enabled": signs_body},
    )
    try:
        made = _session_for(settings).client("s3", config=config)
    except ValueError:
        # The client's own sentence repeats the address, in which there may be a password.
        raise StoreError(
            "the endpoint is no address; set AWS_ENDPOINT_URL to one like http://host:port."
        ) from None
    if "@" in urlsplit(made.meta.endpoint_url).netloc:
        raise StoreError(
            "the endpoint holds a user name and password, which would show in logs; set "
            "AWS_ENDPOINT_URL without them, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return made


@lru_cache(maxsize=4)
def _arrow_filesystem_for(settings: str, keys: _Keys) -> Any:  # noqa: ARG001  # see _session_for
    from pyarrow.fs import S3FileSystem

    # Arrow's uploads have no other switch for what `_client_for` sets; read when one is made.
    os.environ.setdefault(_OWN, "when_required")
    meta = client().meta
    address = urlsplit(meta.endpoint_url)
    options: dict[str, Any] = {}
    if not _AWS_HOST.fullmatch(address.netloc):
        style = (meta.config.s3 or {}).get("addressing_style")
        options = {
            "endpoint_override": address.netloc,
            "scheme": address.scheme,
            "force_virtual_addressing": style == "virtual",
        }
    return S3FileSystem(
        access_key=keys[0],
        secret_key=keys[1],
        session_token=keys[2],
        region="us-east-1" if meta.region_name == "aws-global" else meta.region_name,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=READ_TIMEOUT_S,
        **options,
    )
