"""Which split a row belongs to: a function of the row, and of what was fitted over all rows.

By hash, a row's split depends on its key alone, so adding rows moves none to another split, and
nothing depends on the order of files or rows in the source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.casting import shown
from shardline.data.row_hash import content_hashes
from shardline.data.rows import RowLayout
from shardline.data.statistics.row_sample import RowSample, row_hashes
from shardline.data.strata import StrataTally, sides_by_stratum
from shardline.data.times import (
    Kind,
    boundaries_of,
    declared_boundaries,
    moment_of,
    read_times,
    sides_by_time,
)
from shardline.errors import DataError
from shardline.spec.split import SPLITS, SplitName, SplitSpec

UInt64s = np.ndarray[Any, np.dtype[np.uint64]]
Sides = np.ndarray[Any, np.dtype[np.int8]]

# Hashes for different purposes must not be correlated.
SIDE = b"shardline-side"
SAMPLE = b"shardline-sample"
# Boundaries of more rows than this are those of a sample, whose shares stray by 0.2 % at most.
TIME_ROWS = 1 << 18
NO_SIDE = -1
NO_LABEL = "\0"


@dataclass(frozen=True)
class FittedSplit:
    """A rule with all that it has to know of the whole source. Instances can be pickled."""

    rule: SplitSpec | None
    """None makes every row training data."""
    kind: Kind | None = None
    """By time: what the column holds."""
    boundaries: Mapping[SplitName, Any] = field(default_factory=dict)
    """By time: the first moment of every later split, as an ordinal."""
    bounds: Mapping[str, UInt64s] = field(default_factory=dict)
    """Stratified: the lowest hash of every later split, by class."""

    @property
    def names(self) -> tuple[SplitName, ...]:
        """The splits that the rule makes, empty ones included."""
        return self.rule.names if self.rule else ("train",)

    @property
    def moments(self) -> dict[SplitName, str | float] | None:
        """Boundaries as the manifest records them; None for rules that have none."""
        if self.kind is None:
            return None
        return {name: moment_of(self.kind, value) for name, value in self.boundaries.items()}


class SplitTally:
    """What a rule has to know of all rows; parts of a source merge in any order.

    Args:
        rule: One that `needs_fit`.
        layout: The rows' columns.
    """

    def __init__(self, rule: SplitSpec, layout: RowLayout) -> None:
        self._rule = rule
        self._layout = layout
        label = layout.label.name if layout.label else ""
        self._strata = StrataTally(label)
        self._times: dict[Kind, RowSample] = {
            "date": RowSample(TIME_ROWS),
            "number": RowSample(TIME_ROWS),
        }
        self._counts: dict[Kind, int] = {"date": 0, "number": 0}

    def add(self, table: pa.Table, *, first_row: int) -> None:
        """Look at some rows.

        Args:
            table: Typed rows.
            first_row: A number that no other row of the source has: of the first of them; the
                others follow.
        """
        if self._rule.by == "stratified":
            hashes = side_hashes(table, self._rule, self._layout)
            self._strata.add(_classes(table, self._layout), hashes)
            return
        order = row_hashes(first_row, table.num_rows)
        for kind, sample in self._times.items():
            times = read_times(table[self._rule.time], kind=kind)
            rows = np.intersect1d(sample.wanted(order), np.flatnonzero(times.readable))
            sample.add(order[rows], {"ordinal": times.ordinals[rows].astype(np.float64)})
            self._counts[kind] += int(times.readable.sum())
            if times.readable.all():
                break  # nothing is left that could be of the other kind

    def merge(self, other: "SplitTally") -> None:
        """Take in what another tally saw."""
        self._strata.merge(other._strata)
        for kind, sample in self._times.items():
            sample.merge(other._times[kind])
            self._counts[kind] += other._counts[kind]

    def fitted(self) -> FittedSplit:
        """The rule with what all rows say.

        Raises:
            DataError: The rows cannot be divided so.
        """
        rule = self._rule
        if rule.by == "stratified":
            return FittedSplit(rule, bounds=self._strata.bounds(rule.fractions))
        if not any(self._counts.values()):
            raise DataError(
                f"data.split.time {rule.time!r} holds neither numbers nor ISO 8601 dates, such as "
                "2026-03-31, in any row that can be used; write its times so."
            )
        kind: Kind = "number" if self._counts["number"] > self._counts["date"] else "date"
        ordinals = self._times[kind].contents()[1].get("ordinal", np.empty(0))
        boundaries = boundaries_of(ordinals, rule.fractions, column=str(rule.time))
        return FittedSplit(rule, kind=kind, boundaries=boundaries)


def needs_fit(rule: SplitSpec | None) -> bool:
    """Whether a rule has to see all rows before it can place one."""
    if rule is None or len(rule.names) == 1:
        return False
    return rule.by == "stratified" or (rule.by == "time" and not rule.boundaries)


def unfitted(rule: SplitSpec | None) -> FittedSplit:
    """A rule that needs no fit, ready for use."""
    if rule is None or not rule.boundaries:
        return FittedSplit(rule)
    kind, boundaries = declared_boundaries(rule.boundaries)
    return FittedSplit(rule, kind=kind, boundaries=boundaries)


def sides_of(table: pa.Table, split: FittedSplit, layout: RowLayout) -> Sides:
    """Index into `SPLITS` of every row; `NO_SIDE` for a time that cannot be read.

    Args:
        table: Typed rows.
        split: The fitted rule.
        layout: The rows' columns.
    """
    rule = split.rule
    if rule is not None and rule.by == "time" and split.kind is not None:
        times = read_times(table[rule.time], kind=split.kind)
        found = sides_by_time(times.ordinals, split.boundaries)
        found[~times.readable] = NO_SIDE
        return found
    if rule is None or len(split.names) == 1:
        return np.full(table.num_rows, SPLITS.index(split.names[0]), np.int8)
    hashes = side_hashes(table, rule, layout)
    if rule.by == "stratified":
        return sides_by_stratum(_classes(table, layout), hashes, split.bounds, split.names)
    return sides(hashes, rule.fractions)


def unreadable_times(table: pa.Table, split: FittedSplit, found: Sides) -> dict[int, str]:
    """Why rows that have no side cannot be used, by position.

    Args:
        table: Typed rows.
        split: The fitted rule.
        found: Their sides.
    """
    rule = split.rule
    if rule is None or rule.time is None:
        return {}
    expected = "a number" if split.kind == "number" else "an ISO 8601 date, as 2026-03-31"
    values = table[rule.time].combine_chunks()
    reasons = {}
    for row in np.flatnonzero(found == NO_SIDE):
        value = shown(values[row]) if values[row].is_valid else "null"
        reasons[int(row)] = f"time {rule.time!r} is {value}, expected {expected}"
    return reasons


def side_hashes(table: pa.Table, rule: SplitSpec, layout: RowLayout) -> UInt64s:
    """What decides a row's split: its key, or without one all that a model sees of it."""
    return content_hashes(_deciding(table, rule, layout), purpose=SIDE)


def key_hashes(table: pa.Table, key: str) -> UInt64s:
    """Hashes of a key, alike for alike keys."""
    return content_hashes(_key(table, key), purpose=SIDE)


def model_columns(table: pa.Table, layout: RowLayout) -> pa.Table:
    """What a model sees of the rows: features and label, without what is merely carried along."""
    labels = [layout.label.name] if layout.label else []
    return table.select([*(column.name for column in layout.features), *labels])


def sides(hashes: UInt64s, fractions: Mapping[SplitName, float]) -> Sides:
    """Index into `SPLITS` for every hash; a side's share of all hashes is its fraction."""
    shares = np.cumsum([fractions.get(name, 0.0) for name in SPLITS])
    # The last side that has a share takes what rounding leaves above the sum.
    shares[max(i for i, name in enumerate(SPLITS) if name in fractions) :] = np.inf
    position = hashes.astype(np.float64) / 2.0**64
    return np.searchsorted(shares, position, side="right").astype(np.int8)


def sampled(raw: pa.Table, rate: float, key: str | None) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which rows a sample takes; a larger rate takes these and more, whatever else is added.

    Args:
        raw: Rows as they were read, without their origin.
        rate: Share of the rows, or of the keys, to take.
        key: Column whose value decides; without it, the whole row.
    """
    chosen = raw if key is None or key not in raw.column_names else _key(raw, key)
    hashes = content_hashes(chosen, purpose=SAMPLE)
    return hashes.astype(np.float64) < rate * 2.0**64


def _deciding(table: pa.Table, rule: SplitSpec, layout: RowLayout) -> pa.Table:
    return model_columns(table, layout) if rule.key is None else _key(table, rule.key)


def _key(table: pa.Table, key: str) -> pa.Table:
    """The key alone, as text: a renamed column, or one of another type, moves no row."""
    try:
        return pa.table({"": table[key].cast(pa.string())})
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise DataError(
            f"data.split.key {key!r} holds {table.schema.field(key).type}; "
            "choose a column of texts or numbers."
        ) from error


def _classes(table: pa.Table, layout: RowLayout) -> pa.Array:
    if layout.label is None or layout.label.shape:
        raise DataError("data.split.by: stratified needs a label of one class per row.")
    # Labels that are missing and will be filled are a class of their own.
    return table[layout.label.name].combine_chunks().cast(pa.string()).fill_null(NO_LABEL)
