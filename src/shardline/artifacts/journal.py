"""The journal of a run: what each epoch gave and how fast it went, one JSON line each.

Object stores have no append, so the file is replaced as a whole; its lines thin out as a run grows
longer. It is for people and dashboards: training itself depends on checkpoints alone.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from shardline.artifacts.checkpoint import EpochLogs
from shardline.errors import NotFoundError
from shardline.store import Store

logger = logging.getLogger(__name__)


class JournalLine(BaseModel):
    """One line of `metrics.jsonl`."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    kind: Literal["epoch", "step"]
    """A finished epoch, with global metrics; or a moment inside one, with rank 0's running ones."""
    epoch: int
    step: int
    """Optimizer steps since the run began."""
    logs: dict[str, float | None]
    """None where a value is not finite: JSON has no NaN."""
    unix_s: float | None = None
    seconds: float | None = None
    """Time of the epoch's training steps; of those after the resume in an epoch that had one."""
    rows_per_s: float | None = None
    """Over all workers, while `seconds` passed."""
    data_wait: float | None = None
    """Share of `seconds` that rank 0's step loop waited for its next batch, 0 to 1."""
    learning_rate: float | None = None


def journal_key(run: str) -> str:
    """Where a run's journal is."""
    return f"runs/{run}/metrics.jsonl"


def tensorboard_folder(run: str) -> str:
    """Key prefix of a run's TensorBoard event files."""
    return f"runs/{run}/tensorboard"


def read_journal(store: Store, run: str) -> list[JournalLine]:
    """The lines written so far; what is no line is left out with a warning."""
    try:
        data = store.read(journal_key(run))
    except NotFoundError:
        return []
    lines = []
    for text in data.splitlines():
        try:
            lines.append(JournalLine.model_validate_json(text))
        except ValidationError:
            logger.warning("%s holds a line that is none", store.uri_of(journal_key(run)))
    return lines


def dump_journal(lines: Iterable[JournalLine]) -> bytes:
    """The file's content."""
    return b"".join(orjson.dumps(line.model_dump()) + b"\n" for line in lines)


def continued(
    lines: Sequence[JournalLine],
    history: Sequence[EpochLogs],
    *,
    step: int,
    steps_per_epoch: int,
) -> list[JournalLine]:
    """The journal of a run that continues from a checkpoint: every epoch of it exactly once.

    Args:
        lines: What an earlier attempt wrote; it may have come further than the checkpoint, or not
            have written its last epochs.
        history: The checkpoint's finished epochs.
        step: Optimizer steps since the run began.
        steps_per_epoch: Optimizer steps.
    """
    written = {line.epoch: line for line in lines if line.kind == "epoch"}
    kept = [line for line in lines if line.kind == "step" and line.step <= step]
    for entry in history:
        epoch = int(entry["epoch"])
        logs = finite({name: value for name, value in entry.items() if name != "epoch"})
        line = written.get(epoch)
        if line is None or line.logs != logs:
            line = JournalLine(
                kind="epoch", epoch=epoch, step=(epoch + 1) * steps_per_epoch, logs=logs
            )
        kept.append(line)
    return sorted(kept, key=lambda line: (line.step, line.kind == "epoch"))


def finite(logs: EpochLogs) -> dict[str, float | None]:
    """The logs as JSON can hold them."""
    return {name: _finite(float(value)) for name, value in logs.items()}


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None  # NaN compares false
