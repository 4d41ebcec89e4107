"""How much a feature alone says about the label: mutual information and correlation.

Everything is measured on the sampled rows. Information is counted in bits between categories and
equally full bins of numbers. Any two columns share some by chance, the more the more bins there
are, so what chance gives is taken off and decides what counts as measurable at all.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[np.int64]]

MAX_BINS = 16
MAX_CATEGORIES = 32
ROWS_PER_CELL = 5
# One feature in 1,000 that says nothing is taken for one that says something.
NORMAL_QUANTILE = 3.09


@dataclass(frozen=True)
class Variable:
    """The sampled values of a column; NaN is no value."""

    values: Numbers
    """Numbers, or codes whose order means nothing."""
    ordered: bool
    """Whether they are numbers."""


@dataclass(frozen=True)
class Dependence:
    """How two variables hang together."""

    bits: float
    """Mutual information beyond chance."""
    share: float
    """Of the second one's entropy."""
    measurable: bool


def dependence(feature: Variable, label: Variable) -> Dependence:
    """What a feature says about a label, both of the same rows; rows without a label are left out.

    A missing feature is a category of its own: that it is missing may say a lot.
    """
    labelled = ~np.isnan(label.values)
    target = discretised(Variable(label.values[labelled], label.ordered), max_bins=MAX_BINS)
    kinds = len(np.unique(target))
    rows = len(target)
    if kinds < 2:
        return Dependence(0.0, 0.0, measurable=False)
    bins = min(MAX_BINS, max(2, rows // (ROWS_PER_CELL * kinds)))
    codes = discretised(Variable(feature.values[labelled], feature.ordered), max_bins=bins)
    table = contingency(codes, target)
    bits = information(table)
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    by_chance = freedom / (2 * rows * log(2))
    corrected = max(0.0, bits - by_chance)
    return Dependence(
        bits=corrected,
        share=min(1.0, corrected / entropy(table.sum(0))),
        measurable=freedom > 0 and 2 * rows * log(2) * bits > _chance_limit(freedom),
    )


def correlation(first: Variable, second: Variable) -> float | None:
    """Pearson's coefficient between numbers; None where either is constant or no rows have both."""
    both = ~(np.isnan(first.values) | np.isnan(second.values))
    x, y = _standardised(first.values[both]), _standardised(second.values[both])
    if x is None or y is None:
        return None
    return float(np.clip(np.mean(x * y), -1.0, 1.0))


def correlation_ratio(groups: Variable, numbers: Variable) -> float | None:
    """How much of the numbers' deviation lies between groups, 0 to 1; None where none is there."""
    both = ~(np.isnan(groups.values) | np.isnan(numbers.values))
    y = _standardised(numbers.values[both])
    if y is None:
        return None
    codes = discretised(Variable(groups.values[both], ordered=False), max_bins=MAX_BINS)
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=y) / np.maximum(counts, 1)
    return sqrt(min(1.0, float((counts * means**2).sum()) / len(y)))


def discretised(variable: Variable, *, max_bins: int) -> Codes:
    """Numbers as equally full bins, codes as categories of which rare ones share one, from 0.

    Args:
        variable: NaN becomes a category of its own.
        max_bins: Most bins of numbers.
    """
    values = variable.values
    missing = np.isnan(values)
    known = values[~missing]
    codes = np.zeros(len(values), np.int64)
    codes[~missing] = 1 + (_binned(known, max_bins) if variable.ordered else _ranked(known))
    present = np.bincount(codes) > 0
    renumbered: Codes = (np.cumsum(present) - 1)[codes]
    return renumbered


def contingency(first: Codes, second: Codes) -> Numbers:
    """Rows of every pair of codes; both count from 0."""
    height, width = int(first.max(initial=0)) + 1, int(second.max(initial=0)) + 1
    cells = np.bincount(first * width + second, minlength=height * width)
    return cells.reshape(height, width).astype(np.float64)


def information(table: Numbers) -> float:
    """Mutual information of a contingency table in bits, chance included."""
    joint = entropy(table.ravel())
    return max(0.0, entropy(table.sum(0)) + entropy(table.sum(1)) - joint)


def entropy(counts: Numbers) -> float:
    """Entropy of counts in bits."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _binned(numbers: Numbers, max_bins: int) -> Codes:
    ascending = np.sort(numbers)
    changes = np.flatnonzero(ascending[1:] != ascending[:-1]) + 1
    if len(changes) < max_bins:
        edges = ascending[np.concatenate([[0], changes])[: len(ascending)]]
    else:
        # The values at equal steps of rank; a value that fills several bins is one edge.
        edges = np.unique(ascending[np.arange(1, max_bins) * (len(ascending) - 1) // max_bins])
    return np.searchsorted(edges, numbers, side="left")


def _ranked(codes: Numbers) -> Codes:
    """Categories by falling frequency; those after the most frequent ones become the last."""
    _, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
    ranks = np.empty(len(counts), np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.minimum(ranks[place], MAX_CATEGORIES - 1)


def _standardised(numbers: Numbers) -> Numbers | None:
    if not len(numbers) or numbers.max() == numbers.min():
        return None
    largest = np.abs(numbers).max()  # squares of the largest float64 would be infinite
    scaled = numbers / largest if np.isfinite(largest) and largest else numbers
    deviation = scaled.std()
    return (scaled - scaled.mean()) / deviation if deviation else None


def _chance_limit(freedom: int) -> float:
    """Quantile of the chi-squared distribution (Wilson and Hilferty's approximation)."""
    scale = 2 / (9 * freedom)
    return float(freedom * (1 - scale + NORMAL_QUANTILE * sqrt(scale)) ** 3)
