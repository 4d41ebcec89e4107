"""What is read off the sketch of one column: counts, moments, quantiles, frequent values."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from shardline.data.manifest import ColumnStatistics
from shardline.data.statistics.columns import ColumnSketch
from shardline.data.statistics.moments import Moments
from shardline.data.statistics.row_sample import Columns
from shardline.data.statistics.table import TableSketch
from shardline.data.statistics.top_values import MAX_NUMBERS, Ranked

# Of a value that a sample holds less often, its share of all rows is anyone's guess.
MIN_REPEATS = 3

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ColumnSummary:
    """One column of a sketched table."""

    name: str
    sketch: ColumnSketch
    series: Columns
    """What the sample holds of it."""

    @property
    def moments(self) -> Moments:
        """Of the finite numbers or elements; times in seconds."""
        return self.sketch.moments

    @property
    def sampled(self) -> Numbers:
        """The sampled finite numbers or elements, ascending; none of texts and images."""
        values = self.series.get("value", self.series.get("element", np.empty(0)))
        return np.sort(values[np.isfinite(values)])

    @property
    def mode(self) -> str | int | float | None:
        """The most frequent value, of several the smallest; None if none is frequent.

        Exact for up to 49 thousand different texts and 2,048 different numbers; beyond, that of
        the sample.
        """
        ranked = self.ranked()
        return ranked[0][0] if ranked else None

    def quantile(self, probability: float) -> float | None:
        """The smallest number that is not below a share of all numbers; it occurs in the column."""
        return quantile(self.sampled, probability)

    def ranked(self) -> Ranked:
        """Values and how often they occur, most frequent first."""
        sketch = self.sketch
        if sketch.kind == "text":
            return sketch.texts.ranked()
        if sketch.numbers.complete:
            return sketch.numbers.ranked()
        return _ranked(self.sampled, scale=sketch.moments.count)


def summary_of(table: TableSketch, name: str) -> ColumnSummary:
    """One column of a sketched table; KeyError if it is not watched."""
    return ColumnSummary(name, table.columns[name], table.series(name))


def column_statistics(
    table: TableSketch, names: Sequence[str] | None = None
) -> dict[str, ColumnStatistics]:
    """What the manifest says of columns, by default of all that were watched."""
    chosen = table.columns if names is None else names
    return {name: _for_manifest(table.columns[name]) for name in chosen}


def quantile(ascending: Numbers, probability: float) -> float | None:
    """The smallest number that is not below a share of all; None of nothing."""
    if not len(ascending):
        return None
    place = int(np.ceil(probability * len(ascending))) - 1
    return float(ascending[min(max(place, 0), len(ascending) - 1)])


def _for_manifest(sketch: ColumnSketch) -> ColumnStatistics:
    if sketch.kind == "text":
        names = sketch.texts.vocabulary()
        return ColumnStatistics(count=sketch.lengths.count, nulls=sketch.nulls, vocabulary=names)
    moments = sketch.moments
    if not moments.count:
        return ColumnStatistics(count=0, nulls=sketch.nulls)
    return ColumnStatistics(
        count=moments.count,
        nulls=sketch.nulls,
        mean=moments.mean if isfinite(moments.mean) else None,
        variance=moments.variance,
        min=moments.min,
        max=moments.max,
    )


def _ranked(sampled: Numbers, *, scale: int) -> Ranked:
    """The most frequent sampled values, counts scaled up; few of a kind are chance."""
    values, counts = np.unique(sampled, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MAX_NUMBERS]
    repeated = order[counts[order] >= MIN_REPEATS]
    scaled = np.round(counts[repeated] * (scale / max(1, len(sampled)))).astype(np.int64)
    return list(zip(values[repeated].tolist(), scaled.tolist(), strict=True))
