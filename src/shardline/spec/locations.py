"""Locations as users write them: paths, `file://` and `s3://` URIs."""

import os.path
from pathlib import Path
from urllib.parse import urlsplit

from shardline.errors import SpecError


def absolute(location: str, *, base: Path) -> str:
    """An absolute URI for `location`.

    Args:
        location: A path, `file://./relative`, `file:///absolute` or `s3://bucket/prefix`.
        base: Folder that relative paths count from.

    Raises:
        SpecError: The scheme is not one of `file` and `s3`, or an S3 URI names no bucket.
    """
    scheme, _, rest = location.partition("://")
    if not rest and "://" not in location:
        return _file_uri(location, base)
    if scheme == "file":
        return _file_uri(rest, base)
    if scheme != "s3":
        raise SpecError(f"{location!r} has scheme {scheme!r}; use a path, file:// or s3://.")
    bucket = urlsplit(location).netloc
    if "@" in bucket:
        raise SpecError(
            "an s3:// location holds a user name or password, which would show in logs; write "
            "s3://bucket/prefix, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if not bucket:
        raise SpecError(f"{location!r} names no bucket; write s3://bucket/prefix.")
    return location.rstrip("/")


def local_path(uri: str) -> Path:
    """The path of a `file://` URI made by `absolute`."""
    return Path(uri.removeprefix("file://"))


def _file_uri(path: str, base: Path) -> str:
    # normpath, not resolve: a symlinked data folder keeps the name the user gave it.
    return "file://" + os.path.normpath(base.absolute() / Path(path).expanduser())
