"""`train.warm_start`: where a run takes its first weights from, as users write it."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from shardline.spec.locations import absolute

_MODEL = re.compile(r"^models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|[/@](?P<alias>[^/@]+))?$")
_RUN = re.compile(r"^runs:/(?P<run>[^/@]+)(?:@(?P<step>\d+))?$")
KERAS_SUFFIX = ".keras"


@dataclass(frozen=True)
class RegisteredModel:
    """`models:/NAME/VERSION`, `models:/NAME@ALIAS`, or `models:/NAME` for the newest version."""

    name: str
    version: int | None
    alias: str | None


@dataclass(frozen=True)
class RunCheckpoint:
    """`runs:/NAME@STEP`, or `runs:/NAME` for the last checkpoint."""

    run: str
    step: int | None


@dataclass(frozen=True)
class KerasFile:
    """A `.keras` file."""

    location: str


WeightSource = RegisteredModel | RunCheckpoint | KerasFile


def parse_weight_source(text: str) -> WeightSource:
    """What a `train.warm_start` names.

    Raises:
        ValueError: It is none of the three forms.
    """
    if model := _MODEL.match(text):
        version = model["version"]
        return RegisteredModel(model["name"], int(version) if version else None, model["alias"])
    if run := _RUN.match(text):
        return RunCheckpoint(run["run"], int(run["step"]) if run["step"] else None)
    if text.endswith(KERAS_SUFFIX) and urlsplit(text).scheme in ("", "file", "s3"):
        return KerasFile(text)
    raise ValueError(
        "expected models:/NAME/VERSION, models:/NAME@ALIAS, runs:/NAME@STEP or a .keras file, "
        f"got {text!r}"
    )


def located_weight_source(text: str, *, base: Path) -> str:
    """The same source, a file's location made absolute."""
    return absolute(text, base=base) if isinstance(parse_weight_source(text), KerasFile) else text
