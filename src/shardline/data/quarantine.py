"""Rows that cannot enter a dataset: why, where they came from, and how many are too many."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from shardline.errors import DataError

QUARANTINE_KEY = "quarantine/rows.jsonl"
NUM_NAMED = 3


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that was set aside."""

    reason: str
    file: str
    """Name relative to the source."""
    row: int
    """Number of the record in its file, from 1; a header line is not counted."""


def check_share(rejected: Sequence[Rejected], *, rows_read: int, max_share: float) -> None:
    """Refuse a source of which too much was set aside.

    Raises:
        DataError: More than `max_share` of the rows were rejected; names the first of them.
    """
    if not rejected or len(rejected) <= max_share * rows_read:
        return
    named = "; ".join(f"{r.file} row {r.row}: {r.reason}" for r in rejected[:NUM_NAMED])
    raise DataError(
        f"{len(rejected)} of {rows_read} rows cannot be used, more than "
        f"data.max_quarantined = {max_share:g} allows; the first: {named}. "
        "Mend the source or the spec, or raise data.max_quarantined."
    )


def dump_rejected(rejected: Sequence[Rejected]) -> bytes:
    """One JSON object per line, in the order given."""
    return "".join(json.dumps(asdict(r), ensure_ascii=False) + "\n" for r in rejected).encode()
