"""Rows that training has seen and a later split would see again."""

from typing import Any, NamedTuple

import numpy as np

from shardline.data.cleaning.duplicates import repeated_positions

UInt64s = np.ndarray[Any, np.dtype[np.uint64]]
Int64s = np.ndarray[Any, np.dtype[np.int64]]


def leaked(hashes: UInt64s, sides: "np.ndarray[Any, np.dtype[np.int8]]") -> Int64s:
    """Positions of the rows whose hash an earlier split holds too (train, validation, test).

    Args:
        hashes: Of each row's key, or of its content.
        sides: Index into `SPLITS` of each row.
    """
    return _later(hashes, sides)[0]


class Leak(NamedTuple):
    """Two rows of one hash in two splits, by position, and how many more there are."""

    earlier: int
    later: int
    num_rows: int
    """All rows whose hash an earlier split holds too."""


def leak(hashes: UInt64s, sides: "np.ndarray[Any, np.dtype[np.int8]]") -> Leak | None:
    """What to say of rows that lie in two splits; None if none does."""
    later, earliest = _later(hashes, sides)
    return Leak(int(earliest[0]), int(later[0]), len(later)) if len(later) else None


def _later(hashes: UInt64s, sides: "np.ndarray[Any, np.dtype[np.int8]]") -> tuple[Int64s, Int64s]:
    """Positions of leaked rows, ascending, and for each a row of the earliest split that has it."""
    places = repeated_positions(hashes)
    if not len(places):
        return places, places
    order = places[np.lexsort((sides[places], hashes[places]))]
    is_first = np.append(True, hashes[order[1:]] != hashes[order[:-1]])
    starts = np.flatnonzero(is_first)
    first = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    is_later = sides[order] != sides[first]
    ascending = np.argsort(order[is_later], kind="stable")
    return order[is_later][ascending], first[is_later][ascending]
