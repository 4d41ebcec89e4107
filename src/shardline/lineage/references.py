"""References: how people name an artifact in a store."""

import re
from dataclasses import dataclass

from shardline.errors import NotFoundError
from shardline.spec.base import NAME_PATTERN

FORMS = (
    "models/NAME, models/NAME/VERSION, models/NAME@ALIAS, datasets/NAME, datasets/NAME/VERSION, "
    "runs/NAME, scores/NAME or scores/NAME/JOB"
)


@dataclass(frozen=True)
class ModelReference:
    """A registered model, or one version of it."""

    name: str
    version: int | None = None
    alias: str | None = None


@dataclass(frozen=True)
class DatasetReference:
    """A dataset, or one version of it."""

    name: str
    version: str | None = None


@dataclass(frozen=True)
class RunReference:
    """A run."""

    name: str


@dataclass(frozen=True)
class ScoresReference:
    """What one spec's scoring jobs wrote into the store, or one job."""

    name: str
    job: str | None = None


Reference = ModelReference | DatasetReference | RunReference | ScoresReference


def parse_reference(text: str) -> Reference:
    """The artifact that a text names.

    Raises:
        NotFoundError: It has none of the known forms.
    """
    kind, _, rest = text.strip("/").partition("/")
    name, at, pointed = rest.partition("@")
    name, _, part = name.partition("/")
    if not re.match(NAME_PATTERN, name) or (at and not pointed) or (part and pointed):
        raise _unknown(text)
    if kind == "models" and (part.isdigit() or not part):
        return ModelReference(name, int(part) if part else None, pointed or None)
    if kind == "runs" and not part and not pointed:
        return RunReference(name)
    if kind == "datasets" and not pointed and "/" not in part:
        return DatasetReference(name, part or None)
    if kind == "scores" and not pointed:
        return ScoresReference(name, part.split("/")[0] or None)
    raise _unknown(text)


def _unknown(text: str) -> NotFoundError:
    return NotFoundError(f"{text!r} names no artifact; write {FORMS}.")
