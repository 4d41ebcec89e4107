"""Sketches to `statistics.json`: profiles of all columns, label balance, relevance, duplicates."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from shardline.data.statistics.document import (
    ColumnProfile,
    DatasetStatistics,
    Distribution,
    Histogram,
    ImageShape,
    LabelBalance,
    LabelClass,
    NearDuplicate,
    TopValue,
)
from shardline.data.statistics.duplicates import near_duplicates
from shardline.data.statistics.moments import Moments
from shardline.data.statistics.ranking import (
    droppable,
    is_class_label,
    rank_features,
    variables_of,
)
from shardline.data.statistics.summary import ColumnSummary, Numbers, quantile, summary_of
from shardline.data.statistics.table import TableSketch
from shardline.spec.data import SplitName

PROBABILITIES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
NUM_BINS = 32
# An outlier this many times the middle 98 % away would squeeze them into a few bins.
MAX_STRETCH = 3.0
NUM_TOP = 10
NUM_SHAPES = 10
MAX_CLASSES = 1024


def describe(
    sketches: Mapping[SplitName, TableSketch],
    *,
    label: str,
    class_names: Sequence[str] | None = None,
) -> DatasetStatistics:
    """Everything that the sketches say.

    Args:
        sketches: `train` watches all features and the label, the others at least the label.
        label: Name of the label column.
        class_names: What label indices mean, if the sketches saw indices.
    """
    train = sketches["train"]
    columns = {name: summary_of(train, name) for name in train.columns}
    profiles = tuple(_profile(column, train) for column in columns.values())
    variables = variables_of(columns, label=label)
    features = {name: variable for name, variable in variables.items() if name != label}
    relevance = rank_features(features, variables[label])
    twins = near_duplicates(features)
    return DatasetStatistics(
        num_rows=train.num_rows,
        num_sampled=len(train.sample.contents()[0]),
        label=label,
        columns=profiles,
        balance=_balance(sketches, label, class_names),
        relevance=relevance,
        duplicates=tuple(
            NearDuplicate(first=t.first, second=t.second, similarity=t.similarity) for t in twins
        ),
        droppable=droppable([p for p in profiles if p.name != label], relevance, twins),
    )


def _profile(column: ColumnSummary, table: TableSketch) -> ColumnProfile:
    sketch = column.sketch
    counted = sketch.kind in ("number", "time", "text")
    whole = table.num_rows <= table.sample.capacity
    distinct, exact = _distinct(column, whole) if counted else (None, True)
    known = sketch.texts if sketch.kind == "text" else sketch.numbers
    ranked = column.ranked()[:NUM_TOP] if counted else []
    return ColumnProfile(
        name=column.name,
        kind=sketch.kind,
        type=str(table.schema.field(column.name).type),
        rows=sketch.rows,
        nulls=sketch.nulls,
        not_finite=sketch.not_finite,
        values=_distribution(sketch.moments, column.sampled),
        lengths=_distribution(sketch.lengths, column.series.get("length")),
        distinct=distinct,
        distinct_exact=exact,
        top=tuple(TopValue(value=value, count=count) for value, count in ranked),
        top_exact=known.complete or whole,
        shapes=_shapes(column) if sketch.kind == "image" else (),
    )


def _distinct(column: ColumnSummary, whole: bool) -> tuple[int, bool]:
    """How many different values, and whether that is exact: a sample of all rows knows best."""
    estimate, exact = column.sketch.num_distinct
    if exact or not whole:
        return min(estimate, column.sketch.rows), exact
    values = column.series.get("value", column.series.get("code", np.empty(0)))
    return len(np.unique(values[~np.isnan(values)])), True


def _distribution(moments: Moments, sampled: Numbers | None) -> Distribution | None:
    if not moments.count:
        return None
    ascending = np.empty(0) if sampled is None else np.sort(sampled[np.isfinite(sampled)])
    quantiles = {f"{p:g}": quantile(ascending, p) for p in PROBABILITIES}
    return Distribution(
        count=moments.count,
        mean=moments.mean if isfinite(moments.mean) else None,
        deviation=moments.deviation,
        min=moments.min,
        max=moments.max,
        quantiles={name: value for name, value in quantiles.items() if value is not None},
        histogram=_histogram(moments, ascending),
    )


def _histogram(moments: Moments, ascending: Numbers) -> Histogram | None:
    low, high = quantile(ascending, 0.01), quantile(ascending, 0.99)
    if low is None or high is None or moments.min == moments.max:
        return None
    start, end = moments.min, moments.max
    span = high - low
    if span and low - start > MAX_STRETCH * span:
        start = low - span
    if span and end - high > MAX_STRETCH * span:
        end = high + span
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.linspace(start, end, NUM_BINS + 1)
    if not np.all(np.isfinite(edges)) or not np.all(np.diff(edges) > 0):
        return None  # numbers too large or too close for bins between them
    scale = moments.count / len(ascending)
    counts = np.round(np.histogram(ascending, edges)[0] * scale).astype(np.int64)
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        below=round(int(np.searchsorted(ascending, start)) * scale),
        above=round(int(np.sum(ascending > end)) * scale),
    )


def _shapes(column: ColumnSummary) -> tuple[ImageShape, ...]:
    names = ("height", "width", "channels")
    rows = np.stack([column.series[name] for name in names], axis=1)
    known = Counter(map(tuple, rows[~np.isnan(rows).any(axis=1)].astype(int).tolist()))
    ranked = sorted(known.items(), key=lambda item: (-item[1], item[0]))[:NUM_SHAPES]
    return tuple(
        ImageShape(height=height, width=width, channels=channels, count=count)
        for (height, width, channels), count in ranked
    )


def _balance(
    sketches: Mapping[SplitName, TableSketch], label: str, class_names: Sequence[str] | None
) -> LabelBalance | None:
    counts: dict[str, dict[SplitName, int]] = {}
    for split, sketch in sketches.items():
        column = summary_of(sketch, label)
        if not sketch.num_rows:
            continue
        if not is_class_label(column):
            return None
        for value, count in column.ranked():
            name = class_names[int(value)] if class_names else str(value)
            counts.setdefault(name, {})[split] = count
    ranked = sorted(counts.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    classes = tuple(LabelClass(name=name, counts=of) for name, of in ranked[:MAX_CLASSES])
    return LabelBalance(classes=classes, num_classes=len(ranked))
