"""Rows that are there several times: which one stays, whatever the order of files and rows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UInt64s = np.ndarray[Any, np.dtype[np.uint64]]


def duplicate_positions(keys: UInt64s, contents: UInt64s) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Positions of the rows to set aside: of every key, all but the row of the lowest content hash.

    Rows of one key and one content are alike; of these the first stays.

    Args:
        keys: Hash of each row's key.
        contents: Hash of each row's whole content.
    """
    places = repeated_positions(keys)
    order = places[np.lexsort((contents[places], keys[places]))]
    is_later = np.append(False, keys[order[1:]] == keys[order[:-1]])[: len(order)]
    return np.sort(order[is_later])


def repeated_positions(hashes: UInt64s) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Positions of all rows whose hash occurs more than once, ascending."""
    # Sorting values alone takes a fifth of ordering rows, and few of them repeat.
    ascending = np.sort(hashes)
    repeated = np.unique(ascending[1:][ascending[1:] == ascending[:-1]])
    return np.flatnonzero(np.isin(hashes, repeated)) if len(repeated) else np.empty(0, np.int64)


def has_key(keys: pa.Table) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which rows have a value in every key column; what has no key repeats nothing.

    Args:
        keys: The key columns.
    """
    present = np.ones(keys.num_rows, dtype=bool)
    for column in keys.columns:
        present &= pc.is_valid(column).to_numpy()
    return present
