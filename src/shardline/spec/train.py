"""The `train` section: workers, batches, epochs and checkpoints."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from shardline.spec.base import Name, Section
from shardline.spec.callbacks import CallbackSpec
from shardline.spec.warm_start import parse_weight_source

Positive = Annotated[int, Field(gt=0)]
MAX_DEFAULT_LANES = 16


class MonitorSpec(Section):
    """Which epoch's checkpoint is the best one."""

    metric: str
    """A key of the epoch logs, such as `val_loss`."""
    mode: Literal["min", "max"] = "min"


class CheckpointSpec(Section):
    """When training state is committed and how much of it is kept."""

    every_steps: Positive = 100
    """Optimizer steps between two checkpoints; a crash loses less than twice as many."""
    keep: Positive = 3
    """The last checkpoints are kept, so many of them."""
    keep_best: Positive = 1
    """So are the best ones by `monitor`, so many of them."""
    keep_every_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """And, for good, the first checkpoint and each that is at least so much newer than the one
    kept for that before; left out, none is."""
    monitor: MonitorSpec | None = None
    """Which one is evaluated and exported; left out, the last."""

    @model_validator(mode="after")
    def _knows_the_best(self) -> Self:
        if self.keep_best > 1 and self.monitor is None:
            raise ValueError(
                f"keep_best ({self.keep_best}) needs monitor: {{metric, mode}}, which says what "
                "the best ones are; add it, or leave keep_best out"
            )
        return self


class CacheSpec(Section):
    """Where each machine keeps the rows it has read, for later epochs and runs."""

    dir: str | None = None
    """A folder on each worker's own disk; left out, `shardline` in the user's cache folder."""
    max_bytes: Annotated[int, Field(ge=0)] = 16 << 30
    """Size of that folder. A train split that is larger when decoded is not kept."""

    @field_validator("dir")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and not value.startswith("file://"):
            raise ValueError(f"expected a local folder, got {value!r}")
        return value


class WorkersSpec(Section):
    """As many workers as the cluster holds at the moment, between two bounds."""

    min: Positive = 1
    """Fewer are waited for."""
    max: Positive
    """More are left out."""

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not exceed max ({self.max})")
        return self


def _kind_of_workers(given: Any) -> str:
    return "WorkersSpec" if isinstance(given, dict | WorkersSpec) else "number"


Workers = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[WorkersSpec, Tag("WorkersSpec")],
    Discriminator(_kind_of_workers),
]


class TrainSpec(Section):
    """One training run."""

    run: Name | None = None
    """Run name; the spec's name when left out. An existing run is continued."""
    workers: Workers = 1
    """Training processes; as `{min, max}`, they follow the nodes that join and leave."""
    global_batch: Positive = 64
    """Rows of one optimizer step over all workers."""
    epochs: Positive = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Decides initial weights and the order of rows."""
    lanes: Positive | None = None
    """Fixed streams the rows are dealt into; left out, the largest divisor of the batch to 16."""
    order: Literal["auto", "window", "full"] = "auto"
    """How rows are permuted: inside a bounded window of a stream of row groups, or all of a lane's
    rows at once; `auto` streams the first epoch and, if the split fits the cache, no other."""
    cache: CacheSpec = CacheSpec()
    """Rows on the workers' disks."""
    cpus_per_worker: Positive = 1
    gpus_per_worker: Annotated[int, Field(ge=0, le=1)] = 0
    """A worker trains on one GPU; more GPUs are used by more workers."""
    mixed_precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Keras's global dtype policy while the builder runs, wherever the model is built."""
    class_weight: Literal["balanced"] | dict[str, float] | None = None
    """Weight of each class in the training loss, by name or index, 1 where left out; `balanced`
    makes every class of the train split count the same in sum."""
    warm_start: str | None = None
    """First weights, by name and shape: `models:/NAME/VERSION`, `models:/NAME@ALIAS`,
    `runs:/NAME@STEP` or a `.keras` file."""
    callbacks: Annotated[tuple[CallbackSpec, ...], Field(strict=False)] = ()
    """Run on every worker, on metrics over all workers' rows."""
    exchange: Literal["auto", "ring", "collective"] = "auto"
    """How gradients are summed: over plain TCP, by TensorFlow's collectives, or, with `auto`, by
    collectives between GPUs and over TCP between CPUs."""
    wire: Literal["float32", "bfloat16"] = "float32"
    """What float32 gradients are rounded to between workers, to halve what goes over a network;
    sums are made in float32."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Restarts of the worker group before the run is given up."""
    stall_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """Silence of a worker after which the group is restarted; longer than the longest step. Until
    an epoch's first step and while it validates, a worker is given at least ten minutes, one that
    trains alone at least two."""
    checkpoint: CheckpointSpec = CheckpointSpec()

    @property
    def num_lanes(self) -> int:
        """Lanes in force."""
        return self.lanes or _largest_divisor(self.global_batch, MAX_DEFAULT_LANES)

    @property
    def min_workers(self) -> int:
        """Workers without which training does not go on."""
        return self.workers.min if isinstance(self.workers, WorkersSpec) else self.workers

    @property
    def max_workers(self) -> int:
        """Workers that training uses at most."""
        return self.workers.max if isinstance(self.workers, WorkersSpec) else self.workers

    @field_validator("class_weight", mode="before")
    @classmethod
    def _weight_by_class(cls, value: Any) -> Any:
        if value is None or value == "balanced":
            return value
        if not isinstance(value, dict) or not value:
            raise ValueError(f"expected `balanced` or weights by class, got {value!r}")
        for name, weight in value.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not math.isfinite(weight) or weight < 0:
                raise ValueError(f"the weight of {name!r} must be a number from 0, got {weight!r}")
        return {str(name): float(weight) for name, weight in value.items()}

    @field_validator("warm_start")
    @classmethod
    def _names_weights(cls, value: str | None) -> str | None:
        if value is not None:
            parse_weight_source(value)
        return value

    @model_validator(mode="after")
    def _wire_fits(self) -> Self:
        if self.wire != "float32" and (
            self.exchange == "collective" or (self.exchange == "auto" and self.gpus_per_worker)
        ):
            raise ValueError(
                f"wire: {self.wire} needs exchange: ring, as TensorFlow's collectives would also "
                "make the sums in 16 bits; set it, or leave wire out"
            )
        return self

    @model_validator(mode="after")
    def _lanes_fit(self) -> Self:
        lanes = self.num_lanes
        if self.global_batch % lanes:
            fits = _nearest_divisors(self.global_batch, lanes)
            raise ValueError(
                f"lanes ({lanes}) must divide global_batch ({self.global_batch}); use {fits}"
            )
        if isinstance(self.workers, WorkersSpec):
            if self.workers.max > lanes:
                raise ValueError(
                    f"workers.max ({self.workers.max}) must not exceed the {lanes} lanes; lower "
                    "it, or set lanes to a larger divisor of global_batch "
                    f"({self.global_batch})"
                )
        elif lanes % self.workers:
            raise ValueError(
                f"workers ({self.workers}) must divide the {lanes} lanes; use "
                f"{_nearest_divisors(lanes, self.workers)} workers, or set lanes to a multiple of "
                f"{self.workers} that divides global_batch ({self.global_batch})"
            )
        return self


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)


def _nearest_divisors(number: int, wanted: int) -> str:
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    below = max((d for d in divisors if d < wanted), default=None)
    above = min((d for d in divisors if d > wanted), default=None)
    return " or ".join(str(d) for d in (below, above) if d is not None)
