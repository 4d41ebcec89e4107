"""Classes divided in the same proportions: bounds on hashes, one row of bounds per class.

In a small class the rows with the lowest hashes are train, the next validation, and so on, so that
its shares are the fractions to a row; added rows then move at most as many others across a bound.
Rows that are alike have one hash: a bound that would part them goes to the nearer end of them.
In a class of more than `EXACT_ROWS` rows plain hashes come as near as matters, and move none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from shardline.errors import DataError
from shardline.spec.split import SPLITS, SplitName

# A share of 0.5 then strays by half a percent; a thousand such classes are held in 80 MB.
EXACT_ROWS = 10_000
MAX_STRATA = 10_000
HIGHEST = np.uint64(2**64 - 1)
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")

UInt64s = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass
class StrataTally:
    """Hashes of the rows of every class so far; None for a class that has become large."""

    column: str
    hashes: dict[str, UInt64s | None] = field(default_factory=dict)

    def add(self, classes: pa.Array, hashes: UInt64s) -> None:
        """Take in rows.

        Args:
            classes: Their classes as text.
            hashes: What divides each class.

        Raises:
            DataError: The column has too many values to be classes.
        """
        encoded = classes.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
        for code, name in enumerate(encoded.dictionary.to_pylist()):
            self._take(name, hashes[order[starts[code] : starts[code + 1]]])
        self._check()

    def merge(self, other: "StrataTally") -> None:
        """Take in what another tally counted."""
        for name, hashes in other.hashes.items():
            if hashes is None:
                self.hashes[name] = None
            else:
                self._take(name, hashes)
        self._check()

    def bounds(self, fractions: Mapping[SplitName, float]) -> dict[str, UInt64s]:
        """For every class, the lowest hash of every split but the first."""
        shares = np.cumsum([fractions[name] for name in SPLITS if name in fractions])[:-1]
        return {name: _bounds(self.hashes[name], shares) for name in sorted(self.hashes)}

    def _take(self, name: str, hashes: UInt64s) -> None:
        known = self.hashes.get(name, np.empty(0, np.uint64))
        if known is None:
            return
        together = np.concatenate([known, hashes])
        self.hashes[name] = together if len(together) <= EXACT_ROWS else None

    def _check(self) -> None:
        if len(self.hashes) > MAX_STRATA:
            raise DataError(
                f"label {self.column!r} has more than {MAX_STRATA} different values, which are no "
                "classes to stratify by; choose data.split.by: hash."
            )


def sides_by_stratum(
    classes: pa.Array,
    hashes: UInt64s,
    bounds: Mapping[str, UInt64s],
    names: tuple[SplitName, ...],
) -> "np.ndarray[Any, np.dtype[np.int8]]":
    """Index into `SPLITS` for every row.

    Args:
        classes: The rows' classes as text.
        hashes: The rows' hashes.
        bounds: Of every class.
        names: The splits, in the order of `SPLITS`.
    """
    encoded = classes.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    table = np.array([bounds[name] for name in encoded.dictionary.to_pylist()], np.uint64)
    passed = (hashes[:, None] >= table.reshape(-1, len(names) - 1)[codes]).sum(axis=1)
    side: np.ndarray[Any, np.dtype[np.int8]]
    side = np.array([SPLITS.index(name) for name in names], np.int8)[passed]
    return side


def _bounds(hashes: UInt64s | None, shares: "np.ndarray[Any, Any]") -> UInt64s:
    if hashes is None:
        return np.array([int(share * 2.0**64) for share in shares], np.uint64)
    ordered = np.append(np.sort(hashes), HIGHEST)
    places = np.floor(shares * len(hashes) + 0.5).astype(np.int64)  # a half goes to the earlier
    first, end = (np.searchsorted(ordered[:-1], ordered[places], side) for side in _SIDES)
    return np.asarray(ordered[np.where(places - first < end - places, first, end)], np.uint64)
