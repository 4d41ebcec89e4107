"""Parts: how one is committed, and what the committed ones say without being read."""

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shardline.errors import IntegrityError
from shardline.scoring.job import PARTS_FOLDER, part_key
from shardline.store import Store

SCORED = b"shardline.rows_scored"
REJECTED = b"shardline.rows_rejected"
NUM_FOOTER_READERS = 16


@dataclass(frozen=True, slots=True)
class PartCounts:
    """What became of a unit's rows."""

    name: str
    rows_scored: int
    rows_rejected: int


def commit_part(output: Store, table: Any, counts: PartCounts) -> PartCounts:
    """Make a part exist, unless another worker already has; returns the counts of the one there."""
    metadata = {SCORED: b"%d" % counts.rows_scored, REJECTED: b"%d" % counts.rows_rejected}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    if output.put_if_absent(part_key(counts.name), sink.getvalue()):
        return counts
    return read_counts(output, counts.name)


def committed_parts(output: Store) -> set[str]:
    """Names of the units whose output is there."""
    entries = output.scan(f"{PARTS_FOLDER}/part-")
    return {PurePosixPath(entry.key).stem for entry in entries}


def counts_of(output: Store, names: Iterable[str]) -> list[PartCounts]:
    """Counts of committed parts, from their footers."""
    with ThreadPoolExecutor(NUM_FOOTER_READERS) as pool:
        return list(pool.map(lambda name: read_counts(output, name), names))


def read_counts(output: Store, name: str) -> PartCounts:
    """Counts of one committed part.

    Raises:
        IntegrityError: It is not a part that shardline wrote.
        NotFoundError: It is gone.
        StoreUnavailableError: The store did not answer, retries included.
    """
    key = part_key(name)
    try:
        with output.explaining(key):
            filesystem, root = output.filesystem()
            with filesystem.open_input_file(f"{root}/{key}") as file:
                metadata = pq.read_metadata(file).metadata
        return PartCounts(name, int(metadata[SCORED]), int(metadata[REJECTED]))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{output.uri_of(key)} is no part of a scoring job; delete it and score again."
        ) from error
