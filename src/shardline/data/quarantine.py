"""Rows that cannot enter a dataset: why, where they came from, and how many are too many."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shardline.data.scratch import asking_for_room
from shardline.errors import DataError

QUARANTINE_KEY = "quarantine/rows.jsonl"
NUM_NAMED = 3
PART_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Rejected:
    """One row that was set aside."""

    reason: str
    file: str
    """Name relative to the source."""
    row: int
    """Number of the record in its file, from 1; a header line is not counted."""
    rule: str | None = None
    """The spec's rule that set it aside, such as `duplicate`; None if it could not be used."""


class QuarantineLog:
    """Rows set aside so far: kept in a file, for there may be more than memory holds.

    Args:
        file: Where; it may not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.count = 0
        self.by_rule = Counter[str]()
        """Rows that a rule of the spec asked to set aside."""
        self.first: list[Rejected] = []
        """The first few unusable ones, for sentences."""

    def add(self, rejected: Sequence[Rejected]) -> None:
        """Set rows aside, after those that are there."""
        with asking_for_room(self._file.parent), self._file.open("ab") as log:
            log.write(dump_rejected(rejected))
        self.count += len(rejected)
        unusable = [each for each in rejected if each.rule is None]
        self.by_rule.update(each.rule for each in rejected if each.rule is not None)
        self.first += unusable[: NUM_NAMED - len(self.first)]

    @property
    def num_unusable(self) -> int:
        """Rows that no rule asked to set aside."""
        return self.count - self.by_rule.total()

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Key and content of each file of the quarantine; there is seldom more than one."""
        if not self.count:
            return
        held: list[bytes] = []
        number = size = 0
        with self._file.open("rb") as log:
            for line in log:
                if size + len(line) > PART_BYTES and held:
                    yield _part_key(number), b"".join(held)
                    held, size, number = [], 0, number + 1
                held.append(line)
                size += len(line)
        yield _part_key(number), b"".join(held)

    def check_none(self) -> None:
        """Refuse a source of which any row cannot be used.

        Raises:
            DataError: Names the first of them.
        """
        if not self.first:
            return
        first = self.first[0]
        raise DataError(
            f"{first.file} row {first.row}: {first.reason}; mend the source or the spec, or set "
            f"data.mismatch to quarantine ({self.num_unusable} such rows so far)."
        )

    def check_share(self, *, rows_read: int, max_share: float) -> None:
        """Refuse a source of which too much was set aside.

        Raises:
            DataError: More than `max_share` of the rows were rejected; names the first of them.
        """
        if not self.num_unusable or self.num_unusable <= max_share * rows_read:
            return
        named = "; ".join(f"{r.file} row {r.row}: {r.reason}" for r in self.first)
        raise DataError(
            f"{self.num_unusable} of {rows_read} rows cannot be used, more than "
            f"data.max_quarantined = {max_share:g} allows; the first: {named}. "
            "Mend the source or the spec, or raise data.max_quarantined."
        )


def dump_rejected(rejected: Sequence[Rejected]) -> bytes:
    """One JSON object per line, in the order given."""
    return "".join(json.dumps(_record(r), ensure_ascii=False) + "\n" for r in rejected).encode()


def _record(rejected: Rejected) -> dict[str, str | int]:
    return {name: value for name, value in asdict(rejected).items() if value is not None}


def _part_key(number: int) -> str:
    return QUARANTINE_KEY.replace(".jsonl", f"-{number:05d}.jsonl") if number else QUARANTINE_KEY
