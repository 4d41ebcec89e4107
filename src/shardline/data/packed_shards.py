"""Row groups of shards as packed rows: tensors and images from the pages, all else by Arrow."""

import logging
from itertools import chain

import numpy as np
import pyarrow as pa

from shardline.data.column_chunks import ColumnChunks
from shardline.data.manifest import DatasetManifest, Shard
from shardline.data.open_shards import OpenShard, OpenShards
from shardline.data.packing import WHOLE, Array, Block, Layout, Packed, packed_block, part_of
from shardline.data.page_headers import PageError
from shardline.data.page_values import read_files, read_values
from shardline.data.reading import ShardImages, shard_table
from shardline.data.reused_memory import ReusedMemory
from shardline.data.schema import Column
from shardline.store import Store

logger = logging.getLogger(__name__)


class PackedShards:
    """Reads row groups; may be used by several threads.

    Args:
        store: Where the dataset lives.
        manifest: The dataset.
        layout: What of a row, and how it is packed.
    """

    def __init__(self, store: Store, manifest: DatasetManifest, layout: Layout) -> None:
        self._store = store
        self._manifest = manifest
        self._layout = layout
        self._by_pages = _read_by_pages(layout)
        self._names = [[column.name for column in block.columns] for block in layout.blocks]
        self._has_images = any(column.encoded for column in layout.columns)
        self._shards = OpenShards(store, manifest)
        self._memory = ReusedMemory()

    def row_group(self, shard: Shard, group: int, part: slice = WHOLE) -> Packed:
        """Rows of one row group, encoded images decoded.

        Args:
            shard: Which file.
            group: Its number there.
            part: Which of its rows; images of others are not decoded.

        Raises:
            IntegrityError: The shard is missing, truncated or otherwise not what was committed, or
                an image in it does not decode.
            StoreUnavailableError: The store did not answer, retries included.
        """
        try:
            opened = self._shards.open(shard)
            paged = self._from_pages(opened, shard, group, part)
            rest = [names for place, names in enumerate(self._names) if place not in paged]
            table = opened.read(group, list(chain(*rest))) if rest else None
        except (pa.ArrowException, OSError):
            self._shards.forget(shard)
            columns = [column.name for column in self._layout.columns]
            rows = self._layout.pack(
                shard_table(self._store, self._manifest, shard, columns=columns, row_groups=[group])
            )
            return part_of(rows, part)
        if table is not None and part != WHOLE:
            table = table[part]
        if table is not None and self._has_images:
            # In this thread, as below: row groups are read, and so images decoded, by several.
            table = self._images(shard, group).decoded(
                table, threads=1, memory=self._memory, first=part.start
            )
        return tuple(
            paged[place] if place in paged else packed_block(table, block)
            for place, block in enumerate(self._layout.blocks)
        )

    def _images(self, shard: Shard, group: int) -> ShardImages:
        uri = self._store.uri_of(f"{self._manifest.folder}/{shard.key}")
        return ShardImages(self._manifest, uri, shard, [group])

    def _from_pages(
        self, opened: OpenShard, shard: Shard, group: int, part: slice
    ) -> dict[int, Array]:
        """Blocks that lie in pages as in memory, by their place; none if Arrow has to read all."""
        if not self._by_pages or not opened.reads_pages:
            return {}
        columns = [column for block in self._by_pages.values() for column in block.columns]
        rows = shard.row_groups[group]
        try:
            chunks = ColumnChunks.read(opened, group, columns)
            found = {}
            for place, block in self._by_pages.items():
                if _is_images(block):
                    files = read_files(*chunks.of_column(block.columns[0].name), rows)[part]
                    found[place] = self._samples(files, block.columns[0], shard, group, part)
                else:
                    found[place] = _packed(chunks, block, rows)[part]
        except PageError as error:  # if it is damage, Arrow will find it
            logger.debug("read by Arrow: %s", error)
            opened.reads_pages = False
            return {}
        return found

    def _samples(
        self, files: list[memoryview], column: Column, shard: Shard, group: int, part: slice
    ) -> Array:
        images = self._images(shard, group)
        samples = images.samples(files, column, threads=1, memory=self._memory, first=part.start)
        return samples.reshape(len(files), -1)


def _read_by_pages(layout: Layout) -> dict[int, Block]:
    """Blocks of numbers and of images, by their place, if there are tensors among them.

    Scalar columns come with them, mostly a label, so that all is one request. Alone they are
    Arrow's: it needs no levels for them, and 50 of them take Python twice as long. Texts, bits and
    images beside other tensors of bytes do not lie in pages as in memory.
    """
    found = {
        place: block
        for place, block in enumerate(layout.blocks)
        if not (block.is_text or block.dtype == np.bool_)
        and (_is_images(block) or not any(column.encoded for column in block.columns))
    }
    has_tensors = any(column.shape for block in found.values() for column in block.columns)
    return found if has_tensors else {}


def _is_images(block: Block) -> bool:
    return len(block.columns) == 1 and block.columns[0].encoded


def _packed(chunks: ColumnChunks, block: Block, rows: int) -> Array:
    out = np.empty((rows, block.width), block.dtype)
    for column, part in block.parts:
        data, codec = chunks.of_column(column.name)
        if not column.shape:
            read_values(data, codec, out[:, part.start])
        elif len(block.columns) == 1:
            read_values(data, codec, out.reshape(-1))
        else:
            values = np.empty(rows * (part.stop - part.start), block.dtype)
            read_values(data, codec, values)
            out[:, part] = values.reshape(rows, -1)
    return out
