"""Markers: the small JSON file, written last, that makes an artifact exist."""

import json
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from shardline.errors import FormatError, IntegrityError
from shardline.store.store import Store


class Marker(BaseModel):
    """Base of every document that shardline writes and reads back."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: Literal[1] = 1
    """Version of the store's layout; STORE_LAYOUT.md says what makes it another."""


M = TypeVar("M", bound=Marker)


def commit_marker(store: Store, key: str, marker: Marker) -> bool:
    """Write a marker unless one is there; False if another writer committed first."""
    return store.put_if_absent(key, dump_marker(marker))


def read_marker(store: Store, key: str, kind: type[M]) -> M:
    """Read and check a marker.

    Raises:
        NotFoundError: The artifact was never committed.
        FormatError: A later version of shardline wrote it: nobody passes over it.
        IntegrityError: It is no such marker.
    """
    return parse_marker(store, key, store.read(key), kind)


def parse_marker(store: Store, key: str, data: bytes, kind: type[M]) -> M:
    """Check the content of a marker; errors as in `read_marker`."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        _check_format(store, key, data)
        found = error.errors(include_url=False)
        if all(each["type"] == "extra_forbidden" for each in found):
            names = ", ".join(".".join(str(part) for part in each["loc"]) for each in found)
            raise FormatError(
                f"{store.uri_of(key)} says more than this version of shardline knows ({names}); "
                "use the version that wrote it, or a later one."
            ) from error
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(
            f"{store.uri_of(key)} is no {kind.__name__}: {where}: {first['msg']}; "
            "it was written by another version or edited."
        ) from error


def _check_format(store: Store, key: str, data: bytes) -> None:
    """Tell a document of another layout from a damaged one, which some readers pass over."""
    try:
        found = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError):
        return
    if found != 1:
        raise FormatError(
            f"{store.uri_of(key)} has format {found!r}, this version of shardline reads format 1; "
            "use the version that wrote it, or a later one."
        )


def dump_marker(marker: Marker) -> bytes:
    """The marker as indented JSON, as a person finds it in the S3 console."""
    return (json.dumps(marker.model_dump(mode="json"), indent=1) + "\n").encode()
