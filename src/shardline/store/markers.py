"""Markers: the small JSON file, written last, that makes an artifact exist."""

import json
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from shardline.errors import IntegrityError
from shardline.store.store import Store


class Marker(BaseModel):
    """Base of every document that shardline writes and reads back."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    format: int = 1
    """Layout version."""


M = TypeVar("M", bound=Marker)


def commit_marker(store: Store, key: str, marker: Marker) -> bool:
    """Write a marker unless one is there; False if another writer committed first."""
    return store.put_if_absent(key, dump_marker(marker))


def read_marker(store: Store, key: str, kind: type[M]) -> M:
    """Read and check a marker.

    Raises:
        NotFoundError: The artifact was never committed.
        IntegrityError: The marker is not one that this version of shardline understands.
    """
    try:
        return kind.model_validate_json(store.read(key))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(
            f"{store.uri_of(key)} is no {kind.__name__}: {where}: {first['msg']}; "
            "it was written by another version or edited."
        ) from error


def dump_marker(marker: Marker) -> bytes:
    """The marker as indented JSON, as a person finds it in the S3 console."""
    return (json.dumps(marker.model_dump(mode="json"), indent=1) + "\n").encode()
