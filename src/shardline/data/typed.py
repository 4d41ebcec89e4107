"""Typed rows on local disk, each with the side and the place that its hashes give it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.quarantine import Rejected
from shardline.data.rows import RawBatch, RowLayout, cast_rows
from shardline.data.split import PLACE, SIDE, hashes_of, row_keys, sides
from shardline.data.spool import Spool
from shardline.errors import DataError
from shardline.spec.data import SPLITS, SplitName, SplitSpec

ALL_TRAIN: dict[SplitName, float] = {"train": 1.0}

Int64s = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class TypedRows:
    """Every row of a source: kept ones in a spool, the others with their reasons."""

    layout: RowLayout
    spool: Spool
    rejected: list[Rejected]
    """In the order of file and row."""
    vocabulary: tuple[str, ...]
    """Label texts that occur, sorted; empty for a label of numbers."""
    num_bytes: int
    """Size of all kept values."""
    sides: "np.ndarray[Any, np.dtype[np.int8]]"
    """Per kept row, the index of its split in `SPLITS`."""
    places: "np.ndarray[Any, np.dtype[np.uint64]]"
    """Per kept row, the hash that orders it."""
    tables: Int64s
    """Per kept row, the number of its table in the spool."""
    positions: Int64s
    """Per kept row, its row in that table."""
    declared: tuple[SplitName, ...]
    """Splits that the rule asks for, empty ones included."""

    @property
    def num_kept(self) -> int:
        """Rows that go into the dataset."""
        return len(self.places)

    @property
    def num_read(self) -> int:
        """Rows of the source."""
        return self.num_kept + len(self.rejected)

    def of(self, split: SplitName) -> Int64s:
        """Numbers of the kept rows of a split."""
        return np.flatnonzero(self.sides == SPLITS.index(split))


def type_rows(
    batches: Iterable[RawBatch],
    layout: RowLayout,
    spool: Spool,
    *,
    split: SplitSpec | None,
    rejected: Iterable[Rejected] = (),
) -> TypedRows:
    """Cast, hash and park all rows.

    Args:
        batches: The source.
        layout: What the rows become.
        spool: Where they are parked.
        split: The rule; None makes all rows training data.
        rejected: Records that could not even be read.

    Raises:
        DataError: A column can never become what the layout says, or the key is no text.
    """
    fractions = split.fractions if split else ALL_TRAIN
    aside = list(rejected)
    labels: set[str] = set()
    side_parts, place_parts, lengths, num_bytes = [], [], [], 0
    for batch in batches:
        cast = cast_rows(batch.table, layout)
        aside += batch.rejected + cast.rejected
        if not cast.table.num_rows:
            continue
        contents = row_keys(cast.table)
        keys = contents if layout.key is None else _key_texts(cast.table, layout.key)
        side_parts.append(sides(hashes_of(keys, purpose=SIDE), fractions))
        place_parts.append(hashes_of(contents, purpose=PLACE))
        num_bytes += sum(map(len, contents))
        labels.update(_label_texts(cast.table, layout))
        lengths.append(cast.table.num_rows)
        spool.append(cast.table)
    return TypedRows(
        layout=layout,
        spool=spool,
        rejected=sorted(aside, key=lambda r: (r.file, r.row)),
        vocabulary=tuple(sorted(labels)),
        num_bytes=num_bytes,
        sides=np.concatenate([np.empty(0, np.int8), *side_parts]),
        places=np.concatenate([np.empty(0, np.uint64), *place_parts]),
        tables=np.repeat(np.arange(len(lengths)), lengths),
        positions=np.concatenate([np.empty(0, np.int64), *map(np.arange, lengths)]),
        declared=tuple(name for name in SPLITS if name in fractions),
    )


def _key_texts(table: pa.Table, key: str) -> list[bytes]:
    try:
        texts = table[key].cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise DataError(
            f"data.split.key {key!r} holds {table.schema.field(key).type}; "
            "choose a column of texts or numbers."
        ) from error
    return [text.encode() for text in texts.to_pylist()]


def _label_texts(table: pa.Table, layout: RowLayout) -> list[str]:
    if layout.label is None or layout.label.dtype != "string":
        return []
    texts: list[str] = pc.unique(table[layout.label.name]).to_pylist()
    return texts
