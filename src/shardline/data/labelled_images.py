"""Images with a table of labels: a row of the table and the image it names make one row."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.images import image_array, image_samples
from shardline.data.quarantine import Rejected
from shardline.data.row_hash import content_hashes
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RawBatch, kept_mask, rejected_of
from shardline.data.schema import Column
from shardline.data.sources import Content, SourceFile, SourceFiles
from shardline.data.units import runs_of

BATCH_BYTES = 16 << 20
NUM_READERS = 8
CONTENT = b"shardline-labels"


@dataclass(frozen=True, slots=True)
class LabelRows:
    """Neighbouring rows of a table of labels: what one task reads the images of."""

    batches: tuple[RawBatch, ...]
    """The rows without their images, numbered from 1."""
    digest: str
    """Of the rows, and of the images that they name."""
    continues: bool
    """Whether the unit before has the rows of the same file that come before these."""

    def identity(self, _contents: Mapping[str, Content]) -> list[Any]:
        """What tells the rows from others, in JSON's types."""
        return [self.digest, None]


@dataclass(frozen=True)
class LabelledImages:
    """The images that a table may name. Instances can be pickled."""

    files: SourceFiles
    column: Column
    """The feature they become."""
    name_column: str
    """The table's column with their paths below the source's folder."""

    def cut(
        self, tables: Sequence[Sequence[RawBatch]], digests: Mapping[str, str]
    ) -> list[LabelRows]:
        """Rows of tables in units, so that rows and images that are added change few of them.

        Args:
            tables: The rows of each file.
            digests: Sha256 of the images, by name.
        """
        by_name = {file.name: file for file in self.files.files}
        names = [n or "" for batches in tables for b in batches for n in self._names(b.table)]
        images = tuple(by_name.get(name, SourceFile(name, name, 0)) for name in names)
        ends = np.cumsum([len(run) for run in runs_of(images)])
        units: list[LabelRows] = []
        first = 0
        for batches in tables:
            numbers = [n for b in batches for n in b.table[ORIGIN_ROW].to_pylist()]
            inside = ends[(ends > first) & (ends < first + len(numbers))] - first
            last = max([*numbers[-1:], *(r.row for b in batches for r in b.rejected)], default=0)
            cuts = [0, *(numbers[end - 1] for end in inside), last]
            for start, stop in pairwise(sorted(set(cuts))):
                rows = tuple(_between(batch, start, stop) for batch in batches)
                rows = tuple(each for each in rows if each.table.num_rows or each.rejected)
                units.append(LabelRows(rows, self._digest(rows, digests), continues=start > 0))
            first += len(numbers)
        return units

    def joined(self, batches: Iterable[RawBatch]) -> Iterator[RawBatch]:
        """The table's rows with their images; those without one are rejected."""
        by_name = {file.name: file for file in self.files.files}
        step = max(1, BATCH_BYTES // self._image_bytes)
        with ThreadPoolExecutor(NUM_READERS) as pool:
            for batch in batches:
                yield replace(batch, table=batch.table.slice(0, 0))
                for start in range(0, batch.table.num_rows, step):
                    part = batch.table.slice(start, step)
                    yield self._with_images(part, batch.available, by_name, pool)

    def unnamed(self, batches: Iterable[RawBatch]) -> list[Rejected]:
        """Images that no row of the table names."""
        named = {name for batch in batches for name in self._names(batch.table)}
        return [
            Rejected("image is not in the table of labels", file.name, 1)
            for file in self.files.files
            if file.name not in named
        ]

    @property
    def _image_bytes(self) -> int:
        """Size of one image in a batch, of those that stay encoded the mean."""
        if not self.column.encoded:
            return self.column.num_bytes
        return 1 + sum(file.size for file in self.files.files) // max(1, len(self.files.files))

    def _with_images(
        self,
        table: pa.Table,
        available: tuple[str, ...],
        by_name: Mapping[str, SourceFile],
        pool: ThreadPoolExecutor,
    ) -> RawBatch:
        found = list(pool.map(lambda name: self._samples(by_name, name), self._written(table)))
        reasons = {place: image for place, image in enumerate(found) if isinstance(image, str)}
        images = [image for image in found if not isinstance(image, str)]
        kept = table.filter(kept_mask(table.num_rows, reasons))
        kept = kept.append_column(self.column.name, image_array(images, self.column))
        rejected = rejected_of(table.select([ORIGIN_FILE, ORIGIN_ROW]), reasons)
        return RawBatch(kept, (*available, self.column.name), rejected)

    def _written(self, table: pa.Table) -> list[str | None]:
        """The names of images as rows have them; JSON lines may leave the field out."""
        if self.name_column not in table.column_names:
            return [None] * table.num_rows
        names: list[str | None] = table[self.name_column].cast(pa.string()).to_pylist()
        return names

    def _names(self, table: pa.Table) -> list[str | None]:
        """The names of images as the source has them."""
        return [name if name is None else _relative(name) for name in self._written(table)]

    def _digest(self, batches: Sequence[RawBatch], digests: Mapping[str, str]) -> str:
        found = hashlib.sha256(repr(self.column).encode())
        for batch in batches:
            images = [digests.get(name or "") for name in self._names(batch.table)]
            types = [(field.name, str(field.type)) for field in batch.table.schema]
            found.update(repr((types, batch.available, batch.rejected, images)).encode())
            found.update(content_hashes(batch.table, purpose=CONTENT).tobytes())
        return found.hexdigest()

    def _samples(self, by_name: Mapping[str, SourceFile], name: str | None) -> Any:
        if name is None:
            return f"column {self.name_column!r} is null"
        file = by_name.get(_relative(name))
        if file is None:
            return f"image {name!r} is not there"
        data = self.files.read(file)
        if self.column.encoded:
            return data
        samples = image_samples(data, self.column)
        return f"image {name!r} {samples}" if isinstance(samples, str) else samples


def _between(batch: RawBatch, start: int, stop: int) -> RawBatch:
    """The rows numbered `start + 1` to `stop`, numbered from 1."""
    numbers = batch.table[ORIGIN_ROW].to_numpy()
    first, end = np.searchsorted(numbers, [start, stop], side="right")
    # Taken, not sliced: a slice travels to other processes with all of its table.
    rows = batch.table.take(pa.array(np.arange(first, end)))
    place = rows.schema.get_field_index(ORIGIN_ROW)
    rows = rows.set_column(place, ORIGIN_ROW, pc.subtract(rows[ORIGIN_ROW], start))
    rejected = tuple(
        replace(each, row=each.row - start) for each in batch.rejected if start < each.row <= stop
    )
    return RawBatch(rows, batch.available, rejected)


def _relative(name: str) -> str:
    return name.removeprefix("./")
