"""Features that say the same as another one: equal up to a monotone function or renaming."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from shardline.data.statistics.relevance import Variable, contingency, entropy, information

Numbers = np.ndarray[Any, np.dtype[np.float64]]

THRESHOLD = 0.99
# Multiplications of one comparison of all numeric features; wide tables compare fewer rows.
MAX_PRODUCTS = 4_000_000_000
MIN_ROWS = 1024
MAX_ROWS = 16_384
CATEGORY_ROWS = 8192
# More categories per row say the same as any other such column by chance.
ROWS_PER_CATEGORY = 10


@dataclass(frozen=True)
class Twins:
    """Two features of which one is nearly redundant."""

    first: str
    second: str
    similarity: float


def near_duplicates(variables: Mapping[str, Variable]) -> list[Twins]:
    """Pairs of features that are nearly the same, most similar first.

    Numbers are compared by rank correlation, so any growing or falling function of a feature is
    found; codes by how much of their entropy they share.

    Args:
        variables: By name, of the same sampled rows.
    """
    found = [*_numeric_twins(variables), *_category_twins(variables)]
    return sorted(found, key=lambda twins: (-twins.similarity, twins.first, twins.second))


def _numeric_twins(variables: Mapping[str, Variable]) -> Iterator[Twins]:
    chosen = {name: v.values for name, v in variables.items() if v.ordered and _varies(v.values)}
    if len(chosen) < 2:
        return
    names = list(chosen)
    rows = min(MAX_ROWS, max(MIN_ROWS, MAX_PRODUCTS // len(names) ** 2))
    ranks = np.stack([_ranks(values[:rows]) for values in chosen.values()])
    present = np.stack([~np.isnan(values[:rows]) for values in chosen.values()])
    similar = np.abs(ranks @ ranks.T) / ranks.shape[1]
    for i, j in np.argwhere(np.triu(similar >= THRESHOLD, k=1)):
        if np.mean(present[i] == present[j]) >= THRESHOLD:
            yield Twins(names[i], names[j], min(1.0, float(similar[i, j])))


def _category_twins(variables: Mapping[str, Variable]) -> Iterator[Twins]:
    codes, entropies = {}, {}
    for name, variable in variables.items():
        values = variable.values[:CATEGORY_ROWS]
        filled = np.where(np.isnan(values), -np.inf, values)
        distinct, places = np.unique(filled, return_inverse=True)
        if 1 < len(distinct) <= len(values) / ROWS_PER_CATEGORY:
            codes[name] = places
            entropies[name] = entropy(np.bincount(places).astype(np.float64))
    for first, second in combinations(codes, 2):
        low, high = sorted((entropies[first], entropies[second]))
        both_numbers = variables[first].ordered and variables[second].ordered
        if both_numbers or low < THRESHOLD * high:
            continue
        share = information(contingency(codes[first], codes[second])) / high
        if share >= THRESHOLD:
            yield Twins(first, second, min(1.0, share))


def _varies(values: Numbers) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 0 and bool(known.min() < known.max())


def _ranks(values: Numbers) -> Numbers:
    """Standardised mean ranks; 0 for NaN and for a constant."""
    known = ~np.isnan(values)
    _, place, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    ranks = np.zeros(len(values))
    if len(counts) > 1:
        of_known = middle[place]
        ranks[known] = (of_known - of_known.mean()) / of_known.std()
        ranks *= np.sqrt(len(values) / np.count_nonzero(known))
    return ranks
