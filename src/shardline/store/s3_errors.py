"""What an S3 server's errors mean: which may pass, and the sentence for those that stay."""

from typing import Any

from shardline.errors import (
    ConditionError,
    NotFoundError,
    ShardlineError,
    StoreError,
    StoreUnavailableError,
)

CONFLICT = 409
PRECONDITION_FAILED = 412
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status, if the server answered."""
    response = getattr(error, "response", None)
    return int(response["ResponseMetadata"]["HTTPStatusCode"]) if response else None


def is_passing(error: Exception) -> bool:
    """Whether waiting may mend it."""
    from botocore.exceptions import (
        ClientError,
        ConnectionError,
        HTTPClientError,
        IncompleteReadError,
    )
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        return _is_passing(status_of(error) or 0, error.response["Error"].get("Code"))
    # No answer, half an answer, or one that is no XML because it broke off.
    broken = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError)
    return isinstance(error, broken)


def explained(error: Exception, *, uri: str, bucket: str, endpoint: str) -> ShardlineError:
    """The sentence that names bucket, key and way out.

    Args:
        error: botocore's.
        uri: Of the object or prefix that was asked for.
        bucket: Its bucket.
        endpoint: Where the requests went.
    """
    if status_of(error) is not None:
        return _answered(error.response, uri, bucket, endpoint)  # type: ignore[attr-defined]
    if type(error).__name__ in _NO_CREDENTIALS:
        return StoreError(
            f"no credentials for {uri}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "AWS_PROFILE, or run with a role."
        )
    if is_passing(error):
        return StoreUnavailableError(
            f"{uri} did not answer at {endpoint}: {error}; check that the address is right and "
            "the server is up, and run it again."
        )
    # A profile that is not there, a role that may not be assumed, a session that has expired.
    return StoreError(
        f"{uri} cannot be reached with these settings: {error}; check the AWS_* variables and "
        "the profile."
    )


def condition_explained(error: Exception, **names: str) -> ShardlineError:
    """The same for a conditional write; what a server says that does not know the condition."""
    found = explained(error, **names)
    if status_of(error) in (400, 501) and isinstance(found, StoreError):
        return ConditionError(found.message)
    return found


def _answered(response: Any, uri: str, bucket: str, endpoint: str) -> ShardlineError:
    status = int(response["ResponseMetadata"]["HTTPStatusCode"])
    code = response["Error"].get("Code", str(status))
    if code == "NoSuchBucket":
        return StoreError(
            f"bucket {bucket!r} does not exist at {endpoint}; create it or fix `store` ({uri})."
        )
    if status == 404:
        return NotFoundError.at(uri)
    if code == "RequestTimeTooSkewed":
        return StoreError(
            f"{uri} was refused because this machine's clock is wrong (the server says "
            f"{response['ResponseMetadata']['HTTPHeaders'].get('date', 'another time')}); set it."
        )
    if status in (401, 403):
        return StoreError(
            f"{uri} refused this identity ({code}); check the credentials and that they may read "
            "and write this prefix."
        )
    if status == CONFLICT:
        return StoreUnavailableError(f"writers of {uri} kept conflicting; run it again.")
    if _is_passing(status, code):
        return StoreUnavailableError(f"{uri} answered {status} {code}; run it again.")
    return StoreError(
        f"{uri} answered {status} {code}; check `store` and the endpoint, region and credentials "
        "it is reached with."
    )


def _is_passing(status: int, code: str | None) -> bool:
    # S3 reports an upload that stalled as 400 RequestTimeout, and 409 while another write of the
    # object is under way.
    return (
        (status >= 500 and status != 501) or status in (CONFLICT, 429) or code == "RequestTimeout"
    )
