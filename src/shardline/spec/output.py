"""The `export`, `score` and `serve` sections: what becomes of a trained model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shardline.spec.base import Name, Section
from shardline.spec.data import Columns


class Bound(Section):
    """What one evaluation metric must keep before an alias moves."""

    min: float | None = None
    """Least value; larger ones are better, unless `mode` says otherwise."""
    max: float | None = None
    """Largest value; smaller ones are better, unless `mode` says otherwise."""
    max_regression: Annotated[float, Field(ge=0)] | None = None
    """How much worse than the version that the alias points to, on the same rows: 0 is not at all.
    In the metric's own unit; left out, the two are not compared."""
    mode: Literal["min", "max"] | None = None
    """Whether smaller or larger is better; needed where `max_regression` stands without exactly one
    of `min` and `max`."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.min is None and self.max is None and self.max_regression is None:
            raise ValueError("a bound needs min, max or max_regression")
        if self.max_regression is not None and self.better is None:
            raise ValueError(
                "max_regression needs to know which way is worse; add mode: max if larger is "
                "better, mode: min if smaller is"
            )
        return self

    @property
    def better(self) -> Literal["min", "max"] | None:
        """Which way is better; None if nothing says it."""
        if self.mode is not None or (self.min is None) == (self.max is None):
            return self.mode
        return "min" if self.min is None else "max"


class ExportSpec(Section):
    """Checkpoint to registry version."""

    model: Name | None = None
    """Registered name; the spec's name when left out."""
    alias: Name | None = None
    """Alias moved to the new version once it passes the gate."""
    gate: dict[str, Bound] = Field(default_factory=dict)
    """Evaluation metrics and their limits; a version that fails gets no alias."""


class ScoreSpec(Section):
    """A batch scoring job."""

    input: str = "dataset"
    """`dataset` (all splits), `dataset/SPLIT`, or a file, folder, glob or URI of raw rows."""
    output: str | None = None
    """Folder or URI; left out, `scores/NAME` in the store."""
    keep: Columns = ()
    """Input columns carried into the output."""
    batch: Annotated[int, Field(gt=0)] = 1024
    """Rows per model call."""
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of rows that may be rejected before the job fails."""


class ServeSpec(Section):
    """The HTTP endpoint."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback unless said otherwise."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """TCP port; 0 takes a free one."""
    max_batch: Annotated[int, Field(gt=0)] = 64
    """Most rows of one model call."""
    timeout_ms: Annotated[int, Field(gt=0)] = 1000
    """Deadline of one request, queueing included."""
    max_queue: Annotated[int, Field(gt=0)] = 256
    """Requests a replica holds before it answers 503."""
    replicas: Annotated[int, Field(gt=0)] = 1
