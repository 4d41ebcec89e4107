"""Between the passes: which parked rows go to which split, and what all rows together decide.

Rules that look at all rows (no row twice, splits by time or by class, no row in two splits, values
fitted on the train split) work on hashes and sketches of each piece. They hold up to 17 bytes per
row in memory; without such rules nothing is held and a row's side is found where it is dealt.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.cleaning.duplicates import duplicate_positions, has_key
from shardline.data.cleaning.fitting import Cleaning, begin
from shardline.data.cleaning.tally import CleaningTally
from shardline.data.leakage import leak, leaked
from shardline.data.passes import map_in_threads
from shardline.data.quarantine import QuarantineLog, Rejected
from shardline.data.row_hash import UInt64s, content_hashes
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RowLayout, rejected_of
from shardline.data.scratch import Scratch
from shardline.data.split import (
    NO_SIDE,
    FittedSplit,
    Sides,
    SplitTally,
    key_hashes,
    model_columns,
    needs_fit,
    sides_of,
    unfitted,
    unreadable_times,
)
from shardline.errors import DataError
from shardline.spec.data import SPLITS, DataSpec

CONTENT = b"shardline-content"


@dataclass(frozen=True)
class Piece:
    """Parked rows of one unit."""

    name: str
    rows_before: int
    """Rows of the same file that units before it hold."""
    first_row: int
    """Number of its first row among all parked ones."""
    num_rows: int


@dataclass(frozen=True)
class Division:
    """What decides where a row goes. Instances can be pickled."""

    layout: RowLayout
    split: FittedSplit
    cleaning: Cleaning
    sides: Mapping[str, Sides] = field(default_factory=dict)
    """By piece, where they are settled: `NO_SIDE` for rows that are set aside."""

    def sides_in(self, piece: Piece, table: pa.Table, first: int) -> Sides:
        """Sides of some rows of a piece, of which `first` come before."""
        if piece.name in self.sides:
            return self.sides[piece.name][first : first + table.num_rows]
        return sides_of(table, self.split, self.layout)


class Divider:
    """Settles all that has to be known before rows are dealt.

    Args:
        data: The spec's section.
        layout: The rows' columns.
        pieces: All parked rows.
        scratch: Where they are parked.
        quarantine: Takes the rows that are set aside.
    """

    def __init__(
        self,
        data: DataSpec,
        layout: RowLayout,
        pieces: Sequence[Piece],
        *,
        scratch: Scratch,
        quarantine: QuarantineLog,
    ) -> None:
        self._data = data
        self._layout = layout
        self._pieces = pieces
        self._scratch = scratch
        self._quarantine = quarantine
        self._kept: dict[str, Any] = {}
        """By piece, a mask of the rows that are no duplicates."""

    def division(self) -> Division:
        """Look at the pieces as often as the rules need.

        Raises:
            DataError: The rows cannot be divided or cleaned as the spec says.
        """
        cleaning = begin(self._data, self._layout)
        if self._data.duplicates is not None:
            self._set_duplicates_aside(self._data.duplicates.key)
        division = Division(self._layout, self._fitted_split(), cleaning)
        if self._must_settle(division):
            division = replace(division, sides=self._settled(division))
            if self._looks_for_leaks:
                self._stop_leaks(division)
        while division.cleaning.stage is not None:
            division = replace(division, cleaning=self._fitted_cleaning(division))
        return division

    @property
    def _looks_for_leaks(self) -> bool:
        """Whether a row can lie in two splits; hashes of rows or groups put it in one."""
        rule = self._data.split
        if rule is None or len(rule.names) == 1 or rule.leakage == "allow":
            return False
        return rule.by in ("time", "stratified") or rule.key is not None

    def _must_settle(self, division: Division) -> bool:
        rule = division.split.rule
        return bool(self._kept) or self._looks_for_leaks or (rule is not None and rule.by == "time")

    def _set_duplicates_aside(self, key: Sequence[str]) -> None:
        def hashes(piece: Piece) -> tuple[UInt64s, UInt64s, Any]:
            tables = [t.drop_columns([ORIGIN_FILE, ORIGIN_ROW]) for t in self._tables(piece)]
            keyed = [t.select(list(key)) if key else t for t in tables]
            keys = [content_hashes(t, purpose=CONTENT) for t in keyed]
            contents = [content_hashes(t, purpose=CONTENT) for t in tables]
            named = [np.full(t.num_rows, True) if not key else has_key(t) for t in keyed]
            return np.concatenate(keys), np.concatenate(contents), np.concatenate(named)

        found = list(map_in_threads(hashes, self._pieces))
        if not found:
            return
        keys, contents, named = (np.concatenate(part) for part in zip(*found, strict=True))
        places = np.flatnonzero(named)
        repeated = np.zeros(len(keys), dtype=bool)
        repeated[places[duplicate_positions(keys[named], contents[named])]] = True
        what = f"the key {', '.join(key)}" if key else "all values"
        reason = f"repeats {what} of another row, which is kept"
        for piece, mask in self._cut(repeated):
            self._kept[piece.name] = ~mask
            self._reject(piece, dict.fromkeys(np.flatnonzero(mask).tolist(), reason), "duplicate")

    def _fitted_split(self) -> FittedSplit:
        rule = self._data.split
        if rule is None or not needs_fit(rule):
            return unfitted(rule)

        def tally(piece: Piece) -> SplitTally:
            seen = SplitTally(rule, self._layout)
            for first, table in self._numbered(piece):
                kept = self._kept.get(piece.name)
                if kept is not None:
                    table = table.filter(pa.array(kept[first : first + table.num_rows]))
                seen.add(table, first_row=piece.first_row + first)
            return seen

        whole = SplitTally(rule, self._layout)
        for part in map_in_threads(tally, self._pieces):
            whole.merge(part)
        return whole.fitted()

    def _settled(self, division: Division) -> dict[str, Sides]:
        settled = {}
        for piece, (sides, reasons) in zip(
            self._pieces, map_in_threads(partial(self._sides, division), self._pieces), strict=True
        ):
            kept = self._kept.get(piece.name)
            if kept is not None:
                sides[~kept] = NO_SIDE
                reasons = {row: why for row, why in reasons.items() if kept[row]}
            self._reject(piece, reasons, None)
            settled[piece.name] = sides
        return settled

    def _sides(self, division: Division, piece: Piece) -> tuple[Sides, dict[int, str]]:
        parts: list[Sides] = [np.empty(0, np.int8)]
        reasons: dict[int, str] = {}
        for first, table in self._numbered(piece):
            found = sides_of(table, division.split, self._layout)
            unreadable = unreadable_times(table, division.split, found)
            reasons |= {first + row: why for row, why in unreadable.items()}
            parts.append(found)
        return np.concatenate(parts), reasons

    def _stop_leaks(self, division: Division) -> None:
        rule = self._data.split
        if rule is None:
            return
        contents = partial(_content_hashes, self._layout)
        ways: list[tuple[str, Callable[[pa.Table], UInt64s]]] = [("the same row", contents)]
        if rule.key is not None and rule.by in ("time", "stratified"):
            ways.append((f"the same {rule.key!r}", partial(_hashes_of_key, rule.key)))
        for what, hashed in ways:
            every = [
                h
                for part in map_in_threads(partial(self._hashes, hashed), self._pieces)
                for h in part
            ]
            hashes = np.concatenate([np.empty(0, np.uint64), *every])
            sides = np.concatenate([division.sides[piece.name] for piece in self._pieces])
            present = np.flatnonzero(sides != NO_SIDE)
            if rule.leakage == "fail":
                self._refuse_leak(what, present, hashes, sides)
                continue
            later = np.zeros(len(sides), dtype=bool)
            later[present[leaked(hashes[present], sides[present])]] = True
            for piece, mask in self._cut(later):
                division.sides[piece.name][mask] = NO_SIDE
                reason = f"{what} lies in an earlier split"
                self._reject(piece, dict.fromkeys(np.flatnonzero(mask).tolist(), reason), "leak")

    def _refuse_leak(self, what: str, present: Any, hashes: UInt64s, sides: Sides) -> None:
        found = leak(hashes[present], sides[present])
        if found is None:
            return
        rows = [int(present[position]) for position in (found.earlier, found.later)]
        named = [f"{self._origin(row)} in {SPLITS[sides[row]]}" for row in rows]
        rule = self._data.split
        left_out = (
            "leave data.split.key out, which keeps equal rows together, "
            if rule is not None and rule.by == "hash"
            else ""
        )
        raise DataError(
            f"{what} lies in two splits: {named[0]}, {named[1]} "
            f"({found.num_rows} of {len(present)} rows repeat what an earlier split has); "
            f"divide by a data.split.key that such rows share, {left_out}"
            "or set data.split.leakage to quarantine or allow."
        )

    def _fitted_cleaning(self, division: Division) -> Cleaning:
        def tally(piece: Piece) -> CleaningTally:
            seen = CleaningTally(division.cleaning)
            for first, table in self._numbered(piece):
                is_train = division.sides_in(piece, table, first) == SPLITS.index("train")
                seen.add(table.filter(pa.array(is_train)), first_row=piece.first_row + first)
            return seen

        whole = CleaningTally(division.cleaning)
        for part in map_in_threads(tally, self._pieces):
            whole.merge(part)
        return whole.fitted()

    def _reject(self, piece: Piece, reasons: Mapping[int, str], rule: str | None) -> None:
        """Put rows of a piece, by position, into the quarantine."""
        rejected: list[Rejected] = []
        rows = np.array(sorted(reasons), np.int64)
        for first, table in self._numbered(piece) if reasons else ():
            begin, end = np.searchsorted(rows, (first, first + table.num_rows))
            here = {row - first: reasons[row] for row in rows[begin:end].tolist()}
            rules = dict.fromkeys(here, rule) if rule else None
            rejected += rejected_of(table, here, rules=rules, rows_before=piece.rows_before)
        if rejected:
            self._quarantine.add(rejected)

    def _origin(self, row: int) -> str:
        piece = next(p for p in self._pieces if row < p.first_row + p.num_rows)
        for first, table in self._numbered(piece):
            place = row - piece.first_row - first
            if place < table.num_rows:
                (origin,) = rejected_of(table, {place: ""}, rows_before=piece.rows_before)
                return f"{origin.file} row {origin.row}"
        raise LookupError(row)

    def _hashes(self, hashed: Callable[[pa.Table], UInt64s], piece: Piece) -> list[UInt64s]:
        return [hashed(table) for table in self._tables(piece)]

    def _cut(self, rows: Any) -> Iterator[tuple[Piece, Any]]:
        for piece in self._pieces:
            yield piece, rows[piece.first_row : piece.first_row + piece.num_rows]

    def _tables(self, piece: Piece) -> Iterator[pa.Table]:
        return self._scratch.read(piece.name)

    def _numbered(self, piece: Piece) -> Iterator[tuple[int, pa.Table]]:
        first = 0
        for table in self._tables(piece):
            yield first, table
            first += table.num_rows


def _content_hashes(layout: RowLayout, table: pa.Table) -> UInt64s:
    return content_hashes(model_columns(table, layout), purpose=CONTENT)


def _hashes_of_key(key: str, table: pa.Table) -> UInt64s:
    return key_hashes(table, key)
