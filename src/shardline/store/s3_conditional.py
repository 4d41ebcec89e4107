"""Writes on a condition, and how one whose answer was lost learns whether it was the winner."""

import secrets
from typing import Any

from shardline.errors import NotFoundError
from shardline.store.retrying import retried
from shardline.store.s3_connection import client
from shardline.store.s3_errors import CONFLICT, PRECONDITION_FAILED, is_passing, status_of
from shardline.store.s3_upload import WRITER, body_of, checksum_of, content_type, written_by


class ConditionalPut:
    """A single-part PUT that takes effect only if the object is as the caller knows it.

    Args:
        place: Bucket and path as request arguments.
        data: The content.
        version: The ETag that the object must have; None if it must not exist.
    """

    def __init__(self, place: dict[str, str], data: bytes, version: str | None) -> None:
        self._place = place
        self._data = data
        self._version = version
        self._condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        self._writer = secrets.token_hex(16)
        self._unsure = False
        """An earlier attempt may have taken effect."""

    def won(self) -> bool:
        """Send it; False if the condition did not hold.

        Raises:
            ClientError: The server's answer, once retrying has not helped.
            NotFoundError: There is no object whose version could match.
        """
        return retried(self._attempt, passes=is_passing)

    def _attempt(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._put()
        except ClientError as error:
            if status_of(error) != PRECONDITION_FAILED:
                # A server that answers 5xx may still have written; one that answers 409 has not.
                self._unsure |= status_of(error) != CONFLICT
                raise
            return self._refused()
        except Exception:  # no answer: it may have taken effect all the same
            self._unsure = True
            raise
        return True

    def _put(self) -> None:
        request: Any = {
            **self._place,
            **self._condition,
            "Body": body_of(self._data),
            "ChecksumCRC32": checksum_of(self._data),
            "Metadata": {WRITER: self._writer},
            **content_type(self._place["Key"]),
        }
        client().put_object(**request)

    def _refused(self) -> bool:
        if self._version is None:
            return self._unsure and self._is_mine(self._head())
        head = self._head()
        if head is None:
            raise NotFoundError.at(f"s3://{self._place['Bucket']}/{self._place['Key']}")
        if self._is_mine(head):
            return True
        bare = self._version.strip('"')
        if head["ETag"] != self._version or self._condition["IfMatch"] == bare:
            return False
        # The object has that very version. Ceph compares with what stands between the quotes.
        self._condition = {"IfMatch": bare}
        return self._attempt()

    def _head(self) -> Any:
        """What the server says of the object; None if there is none."""
        from botocore.exceptions import ClientError

        try:
            return client().head_object(**self._place)  # type: ignore[arg-type]
        except ClientError as error:
            if status_of(error) == 404:
                return None
            raise

    def _is_mine(self, head: Any) -> bool:
        return head is not None and written_by(head) == self._writer
