"""The `train` section: workers, batches, epochs and checkpoints."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shardline.spec.base import Name, Section

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
    """Optimizer steps between two checkpoints; a crash loses at most these."""
    keep: Positive = 3
    """Committed checkpoints kept besides the best one."""
    monitor: MonitorSpec | None = None
    """Left out, the last checkpoint is the one evaluated and exported."""


class TrainSpec(Section):
    """One training run."""

    run: Name | None = None
    """Run name; the spec's name when left out. An existing run is continued."""
    workers: Positive = 1
    """Training processes."""
    global_batch: Positive = 64
    """Rows of one optimizer step over all workers."""
    epochs: Positive = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Decides initial weights and the order of rows."""
    lanes: Positive | None = None
    """Fixed streams the rows are dealt into; left out, the largest divisor of the batch to 16."""
    cpus_per_worker: Positive = 1
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    exchange: Literal["auto", "ring", "collective"] = "auto"
    """How gradients are summed: over plain TCP, by TensorFlow's collectives, or, with `auto`, by
    collectives between GPUs and over TCP between CPUs."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Restarts of the worker group before the run is given up."""
    checkpoint: CheckpointSpec = CheckpointSpec()

    @property
    def num_lanes(self) -> int:
        """Lanes in force."""
        return self.lanes or _largest_divisor(self.global_batch, MAX_DEFAULT_LANES)

    @model_validator(mode="after")
    def _lanes_fit(self) -> Self:
        lanes = self.num_lanes
        if self.global_batch % lanes:
            fits = _nearest_divisors(self.global_batch, lanes)
            raise ValueError(
                f"lanes ({lanes}) must divide global_batch ({self.global_batch}); use {fits}"
            )
        if lanes % self.workers:
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
