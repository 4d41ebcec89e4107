"""`model.json`: the marker that makes a model version exist, and its contract with callers."""

from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from shardline.data.schema import Column, Label
from shardline.spec.data import SplitName
from shardline.spec.revision import CodeRevision
from shardline.store import Marker

MARKER_NAME = "model.json"
MODELS_FOLDER = "models"
"""Key prefix of the registry; `models/NAME` is a TensorFlow Serving base path."""


class Lineage(BaseModel):
    """What a model version was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    dataset: str
    dataset_version: str
    run: str
    step: int
    """Optimizer steps behind the exported weights."""
    checkpoint_digest: str
    spec_digest: str
    """Sha256 of the whole resolved spec."""
    recipe_digest: str
    """Sha256 of the spec's `model` section."""
    code_digest: str
    """Sha256 of the builder's source files."""
    code_revision: CodeRevision | None = None
    """The git commit that the source files belong to; None if they lie outside of git."""
    libraries: dict[str, str]
    """Versions of the packages the model was exported with."""


class Seen(BaseModel):
    """What the train split holds of one input."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    min: float | None = None
    """Lowest number, of tensors lowest element; of times, seconds since 1970. None of texts."""
    max: float | None = None
    texts: int | None = None
    """Different texts of the vocabulary; None of numbers."""


class Slice(BaseModel):
    """How well a part of the held-out rows is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    column: str | None
    """The label or feature that the part is cut by; None for all rows."""
    value: str
    """What it holds there: a value, or a range of numbers."""
    rows: int
    measure: Literal["accuracy", "mean absolute error"]
    measured: float | None
    """None where an answer is not finite."""


class ModelManifest(Marker):
    """One immutable version of a registered model."""

    name: str
    version: int
    created_unix_s: float
    inputs: tuple[Column, ...]
    """Raw columns that the SavedModel's `serving_default` takes, by name."""
    outputs: tuple[Column, ...]
    """What it answers with, by name; for a classifier the class name is one of them."""
    label: Label
    metrics: dict[str, float]
    """Evaluation on the held-out split; empty when there was none."""
    evaluated_split: SplitName | None = None
    """The split that `metrics` come from; None when there was no evaluation."""
    evaluated_rows: int | None = None
    """Rows of that split, each counted once."""
    parity_max_abs_error: float
    lineage: Lineage
    spec: dict[str, JsonValue] | None = None
    """The resolved spec of the export."""
    seen: dict[str, Seen] = Field(default_factory=dict)
    """What the model has learned from, by input."""
    slices: tuple[Slice, ...] = ()
    """Measured at the export, over the first held-out rows."""
    example: dict[str, JsonValue] | None = None
    """One row as a client sends it, an element of `instances`; None where it would be too long."""
    files: dict[str, str]
    """Sha256 of every file of the version, by relative key."""

    @field_validator("files")
    @classmethod
    def _files_stay_below_the_folder(cls, files: dict[str, str]) -> dict[str, str]:
        for path in map(PurePosixPath, files):
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"file {str(path)!r} lies outside the version's folder")
        return files

    @property
    def folder(self) -> str:
        """Key prefix of this version in the store."""
        return version_folder(self.name, self.version)


def version_folder(name: str, version: int) -> str:
    """Key prefix of a model version; its parent is a TensorFlow Serving base path."""
    return f"{MODELS_FOLDER}/{name}/{version}"
