"""What `score` does: plan the units that are not committed yet, run them, then complete the job."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.manifest import ModelManifest
from shardline.errors import DataError, NotFoundError, StoreUnavailableError
from shardline.progress import Progress
from shardline.scoring.commit import PartCounts, committed_parts, counts_of
from shardline.scoring.job import (
    MARKER_NAME,
    PARTS_FOLDER,
    REJECTS_FOLDER,
    ScoreJob,
    ScoreManifest,
    open_job,
)
from shardline.scoring.tasks import run_units
from shardline.scoring.units import Unit, known_rows
from shardline.spec import Spec
from shardline.store import Store, commit_marker, read_marker

RunUnits = Callable[[ScoreJob, Sequence[Unit]], Generator[PartCounts]]
"""Scores units somewhere and yields their counts as they are committed."""


@dataclass(frozen=True)
class ScoreResult:
    """What `score` did."""

    rows_read: int
    rows_scored: int
    rows_rejected: int
    output: str
    """URI of the folder of Parquet files."""
    seconds: float
    reused: int
    """Units that an earlier call had committed."""


@dataclass(frozen=True)
class Tally:
    """Rows so far."""

    rows_scored: int = 0
    rows_rejected: int = 0

    @property
    def rows_read(self) -> int:
        """Every row read is scored or rejected."""
        return self.rows_scored + self.rows_rejected

    def plus(self, parts: Iterable[PartCounts]) -> "Tally":
        """With further parts."""
        found = list(parts)
        return Tally(
            self.rows_scored + sum(part.rows_scored for part in found),
            self.rows_rejected + sum(part.rows_rejected for part in found),
        )


@dataclass(frozen=True)
class ScorePlan:
    """A checked job and what is left of it."""

    job: ScoreJob
    units: tuple[Unit, ...]
    committed: frozenset[str]
    max_rejected: float
    done: ScoreManifest | None
    """The marker, when the job was completed earlier."""

    @property
    def pending(self) -> list[Unit]:
        """Units without output."""
        return [unit for unit in self.units if unit.name not in self.committed]


def plan_job(spec: Spec, *, store: Store, model: ModelManifest) -> ScorePlan:
    """Check the job and find what is left to do; nothing is read and nothing starts.

    Raises:
        DataError: The input does not exist, is empty, or lacks a column.
    """
    job = open_job(spec, store=store, model=model)
    done = _completed(job)
    if done is not None:
        return ScorePlan(job, (), frozenset(done.parts), spec.score.max_rejected, done)
    job.source.check(job.wanted)
    units = tuple(job.source.plan(f"{model.name}/{model.version}"))
    if not units:
        raise DataError(f"score.input {job.source.uri} has no rows; check score.input.")
    committed = committed_parts(job.output) & {unit.name for unit in units}
    return ScorePlan(job, units, frozenset(committed), spec.score.max_rejected, None)


def run_plan(
    plan: ScorePlan,
    *,
    progress: Progress,
    run: RunUnits = run_units,
    clock: Clock = unix_clock,
) -> ScoreResult:
    """Do what is left of a job, then commit its marker.

    Raises:
        DataError: More than `score.max_rejected` of the rows were rejected; parts stay.
    """
    started_s = time.monotonic()
    manifest = plan.done
    if manifest is None:
        tally = _score_pending(plan, progress, run)
        _check_parts(plan)
        manifest = _manifest(plan, tally, created_unix_s=clock())
        commit_marker(plan.job.output, MARKER_NAME, manifest)
    return ScoreResult(
        rows_read=manifest.rows_read,
        rows_scored=manifest.rows_scored,
        rows_rejected=manifest.rows_rejected,
        output=plan.job.output.uri_of(PARTS_FOLDER),
        seconds=time.monotonic() - started_s,
        reused=len(plan.committed),
    )


def is_too_many(rejected: int, *, rows: int, max_share: float) -> bool:
    """Whether this many rejected ones of so many rows exceed the allowed share."""
    return rejected > max_share * rows


def _score_pending(plan: ScorePlan, progress: Progress, run: RunUnits) -> Tally:
    total = known_rows(plan.units)
    tally = Tally().plus(counts_of(plan.job.output, sorted(plan.committed)))
    progress.update(done=tally.rows_read, total=total)
    with closing(run(plan.job, plan.pending)) as parts:  # ends what runs when too many are bad
        for part in parts:
            tally = tally.plus([part])
            progress.update(done=tally.rows_read, total=total)
            if total is not None:  # already too many, whatever the rest brings
                _check_rejected(plan, tally, rows=total)
    _check_rejected(plan, tally, rows=tally.rows_read)
    return tally


def _check_parts(plan: ScorePlan) -> None:
    """Parts of a job that was taken up again may have been garbage to somebody a moment before."""
    lost = {unit.name for unit in plan.units} - committed_parts(plan.job.output)
    if lost:
        raise StoreUnavailableError(
            f"{plan.job.output.uri_of(PARTS_FOLDER)} lacks {len(lost)} parts that were there, such "
            f"as {min(lost)}; who removed them must be done, then run the same command again."
        )


def _check_rejected(plan: ScorePlan, tally: Tally, *, rows: int) -> None:
    if is_too_many(tally.rows_rejected, rows=rows, max_share=plan.max_rejected):
        raise DataError(
            f"{tally.rows_rejected} of {rows} rows cannot be scored, more than "
            f"score.max_rejected = {plan.max_rejected:g} allows; the reasons are in "
            f"{plan.job.output.uri_of(REJECTS_FOLDER)}: mend the input or raise the limit."
        )


def _completed(job: ScoreJob) -> ScoreManifest | None:
    try:
        return read_marker(job.output, MARKER_NAME, ScoreManifest)
    except NotFoundError:
        return None


def _manifest(plan: ScorePlan, tally: Tally, *, created_unix_s: float) -> ScoreManifest:
    return ScoreManifest(
        input=plan.job.source.uri,
        model=plan.job.model.name,
        model_version=plan.job.model.version,
        keep=plan.job.wanted.keep,
        rows_read=tally.rows_read,
        rows_scored=tally.rows_scored,
        rows_rejected=tally.rows_rejected,
        parts=tuple(sorted(unit.name for unit in plan.units)),
        created_unix_s=created_unix_s,
    )
