"""Which features matter for the label, and which seem not to be worth their place."""

from collections.abc import Mapping, Sequence

import numpy as np

from shardline.data.statistics.document import (
    ColumnProfile,
    CorrelationKind,
    Droppable,
    Relevance,
)
from shardline.data.statistics.duplicates import Twins
from shardline.data.statistics.relevance import (
    Variable,
    correlation,
    correlation_ratio,
    dependence,
)
from shardline.data.statistics.summary import ColumnSummary

# Fewer different texts than rows by this little: an identifier, which says nothing of new rows.
IDENTIFIER_SHARE = 0.95
MIN_ROWS_OF_IDENTIFIERS = 20


def is_class_label(column: ColumnSummary) -> bool:
    """Whether a label names classes: texts or few integers, not a measured number."""
    sketch = column.sketch
    if sketch.kind == "text":
        return True
    return sketch.kind == "number" and sketch.numbers.complete and sketch.numbers.integral


def variables_of(columns: Mapping[str, ColumnSummary], *, label: str) -> dict[str, Variable]:
    """The sampled values of the columns that relevance and duplicates are measured of."""
    found = {}
    for name, column in columns.items():
        if column.sketch.kind == "text":
            found[name] = Variable(column.series["code"], ordered=False)
        elif column.sketch.kind in ("number", "time"):
            ordered = name != label or not is_class_label(column)
            found[name] = Variable(column.series["value"], ordered=ordered)
    return found


def rank_features(features: Mapping[str, Variable], label: Variable) -> tuple[Relevance, ...]:
    """What every feature says about the label, most first."""
    ranked = [_relevance(name, feature, label) for name, feature in features.items()]
    return tuple(sorted(ranked, key=lambda r: (not r.measurable, -r.information_bits, r.feature)))


def droppable(
    profiles: Sequence[ColumnProfile], relevance: Sequence[Relevance], twins: Sequence[Twins]
) -> tuple[Droppable, ...]:
    """Features that the model would hardly miss, with the reason, in the dataset's order."""
    by_name = {entry.feature: entry for entry in relevance}
    places = {entry.feature: place for place, entry in enumerate(relevance)}
    doubled: dict[str, str] = {}
    for pair in twins:
        kept, other = sorted((pair.first, pair.second), key=lambda name: places[name])
        doubled.setdefault(other, kept)
    found = []
    for profile in profiles:
        reason = _fault(profile)
        if reason is None and profile.name in doubled:
            reason = f"says the same as {doubled[profile.name]}"
        entry = by_name.get(profile.name)
        if reason is None and entry is not None and not entry.measurable:
            reason = "says nothing measurable about the label"
        if reason is not None:
            found.append(Droppable(feature=profile.name, reason=reason))
    return tuple(found)


def _relevance(name: str, feature: Variable, label: Variable) -> Relevance:
    found = dependence(feature, label)
    measure, kind = _correlation(feature, label)
    return Relevance(
        feature=name,
        information_bits=found.bits,
        share=found.share,
        measurable=found.measurable,
        correlation=measure,
        correlation_kind=kind if measure is not None else None,
    )


def _correlation(feature: Variable, label: Variable) -> tuple[float | None, CorrelationKind | None]:
    two_classes = len(np.unique(label.values[~np.isnan(label.values)])) == 2
    if feature.ordered and label.ordered:
        return correlation(feature, label), "pearson"
    if feature.ordered:
        return correlation_ratio(label, feature), "ratio"
    if label.ordered or two_classes:
        return correlation_ratio(feature, label), "ratio"
    return None, None


def _fault(profile: ColumnProfile) -> str | None:
    if not profile.rows:
        return "has no value in any row"
    if profile.distinct_exact and profile.distinct == 1 and not profile.nulls:
        return "has one value in all rows"
    unique = (profile.distinct or 0) >= IDENTIFIER_SHARE * profile.rows
    if profile.kind == "text" and unique and profile.rows >= MIN_ROWS_OF_IDENTIFIERS:
        return "has another text in nearly every row"
    return None
