"""Images with a table of labels: a row of the table and the image it names make one row."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.images import image_array, image_samples
from shardline.data.quarantine import Rejected
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RawBatch, kept_mask, rejected_of
from shardline.data.schema import Column
from shardline.data.sources import SourceFile, SourceFiles

BATCH_BYTES = 16 << 20
NUM_READERS = 8


@dataclass(frozen=True)
class LabelledImages:
    """The images that a table may name. Instances can be pickled."""

    files: SourceFiles
    column: Column
    """The feature they become."""
    name_column: str
    """The table's column with their paths below the source's folder."""

    def joined(self, batches: Iterator[RawBatch]) -> Iterator[RawBatch]:
        """The table's rows with their images; those without one are rejected."""
        by_name = {file.name: file for file in self.files.files}
        step = max(1, BATCH_BYTES // self._image_bytes)
        with ThreadPoolExecutor(NUM_READERS) as pool:
            for batch in batches:
                yield replace(batch, table=batch.table.slice(0, 0), named=self._named(batch.table))
                for start in range(0, batch.table.num_rows, step):
                    part = batch.table.slice(start, step)
                    yield self._with_images(part, batch.available, by_name, pool)

    def unnamed(self, named: frozenset[str]) -> list[Rejected]:
        """Images that no row of the table names."""
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
        names = table[self.name_column].cast(pa.string()).to_pylist()
        found = list(pool.map(lambda name: self._samples(by_name, name), names))
        reasons = {place: image for place, image in enumerate(found) if isinstance(image, str)}
        images = [image for image in found if not isinstance(image, str)]
        kept = table.filter(kept_mask(table.num_rows, reasons))
        kept = kept.append_column(self.column.name, image_array(images, self.column))
        rejected = rejected_of(table.select([ORIGIN_FILE, ORIGIN_ROW]), reasons)
        return RawBatch(kept, (*available, self.column.name), rejected)

    def _named(self, table: pa.Table) -> frozenset[str]:
        if not table.num_rows:
            return frozenset()
        names = pc.unique(table[self.name_column].cast(pa.string())).to_pylist()
        return frozenset(_relative(name) for name in names if name is not None)

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


def _relative(name: str) -> str:
    return name.removeprefix("./")
