"""Which side a row belongs to and where in its side it lies: stable hashes, nothing else.

A row's side is a function of its key, its place a function of its content, so adding rows moves
none to another side, and neither depends on the order of files or rows in the source.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.casting import column_of, is_text
from shardline.data.reading import column_to_numpy
from shardline.spec.data import SPLITS, SplitName

UInt64s = np.ndarray[Any, np.dtype[np.uint64]]
# Hashes for different purposes must not be correlated: blake2b takes the purpose as a parameter.
SIDE = b"shardline-side"
PLACE = b"shardline-place"


def hashes_of(keys: Iterable[bytes], *, purpose: bytes) -> UInt64s:
    """One 64-bit hash per key, the same on every machine and in every release."""
    digests = b"".join(hashlib.blake2b(key, digest_size=8, person=purpose).digest() for key in keys)
    return np.frombuffer(digests, dtype="<u8")


def sides(hashes: UInt64s, fractions: Mapping[SplitName, float]) -> "np.ndarray[Any, Any]":
    """Index into `SPLITS` for every hash; a side's share of all hashes is its fraction."""
    shares = np.cumsum([fractions.get(name, 0.0) for name in SPLITS])
    # The last side that has a share takes what rounding leaves above the sum.
    shares[max(i for i, name in enumerate(SPLITS) if name in fractions) :] = np.inf
    position = hashes.astype(np.float64) / 2.0**64
    return np.searchsorted(shares, position, side="right").astype(np.int8)


def row_keys(table: pa.Table) -> list[bytes]:
    """Bytes that stand for each row's whole content, whatever the order of the columns.

    Args:
        table: Typed rows; text columns may hold nulls, others may not.
    """
    names = sorted(table.column_names)
    texts = [name for name in names if is_text(table.schema.field(name).type)]
    packed = [_row_bytes(table[name], name) for name in names if name not in texts]
    lines = [row.tobytes() for row in np.hstack(packed)] if packed else [b""] * table.num_rows
    for name in texts:
        values = table[name].to_pylist()
        lines = [line + _framed(value) for line, value in zip(lines, values, strict=True)]
    return lines


def deal(places: UInt64s, *, rows_per_shard: int) -> list["np.ndarray[Any, Any]"]:
    """Row positions of each shard of one side, in the order the rows are written.

    Rows are sorted by their hash, so any range of consecutive rows is a random sample, and cut
    into equally long shards.

    Args:
        places: Place hash of each row of the side.
        rows_per_shard: Most rows of one shard.
    """
    num_shards = -(-len(places) // rows_per_shard)
    if num_shards == 0:
        return []
    return list(np.array_split(np.argsort(places, kind="stable"), num_shards))


def _row_bytes(array: pa.ChunkedArray, name: str) -> "np.ndarray[Any, Any]":
    column = column_of(array.type, name)
    values = column_to_numpy(array, column)
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    width = values.itemsize * int(np.prod(column.shape))
    return little.reshape(-1).view(np.uint8).reshape(len(array), width)


def _framed(value: Any) -> bytes:
    """Length first, so that neighbouring texts cannot run into each other."""
    if value is None:
        return b"\xff" * 8
    if isinstance(value, list):
        return b"".join(_framed(part) for part in value)
    text: bytes = value.encode()
    return len(text).to_bytes(8, "little") + text
