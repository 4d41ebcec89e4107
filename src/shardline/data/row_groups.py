"""Row groups of a split as packed rows: from this machine's cache, or from the store into it."""

import logging
from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np

from shardline.data.cache import RowCache, open_cache, row_bounds
from shardline.data.manifest import DatasetManifest
from shardline.data.order import Rows
from shardline.data.packed_shards import PackedShards
from shardline.data.packing import WHOLE, Layout, Packed, part_of
from shardline.data.schema import Column
from shardline.errors import ResourceError
from shardline.spec.data import SplitName
from shardline.spec.train import CacheSpec
from shardline.store import Store

LARGE_GROUP_BYTES = 64 << 20

logger = logging.getLogger(__name__)


class RowGroups:
    """Reads row groups of a split; may be used by several threads.

    Args:
        store: Where the dataset lives.
        dataset: What to read.
        split: Of which rows.
        columns: What of a row.
    """

    def __init__(
        self, store: Store, dataset: DatasetManifest, split: SplitName, columns: Sequence[Column]
    ) -> None:
        self._split = dataset.split(split)
        shards = self._split.shards
        self.layout = Layout(tuple(columns))
        self.cache: RowCache | None = None
        """Where rows are kept, if they are."""
        self.needs_cache = True
        """Whether a cache that cannot be written is an error; else rows are not kept then."""
        self._places = [
            (shard, group) for shard in shards for group in range(len(shard.row_groups))
        ]
        sizes = [shard.row_groups[group] for shard, group in self._places]
        self.bounds = row_bounds(sizes)
        """Number of the first row of each row group, and of all rows, int64 [groups + 1]."""
        self._warned = False
        self._kept: set[int] = set()
        self._reading: dict[int, Lock] = {}
        self._shards = PackedShards(store, dataset, self.layout)
        _warn_of_large(max(sizes, default=0) * self.layout.row_bytes, split)

    def open_cache(self, cache: CacheSpec) -> None:
        """Keep rows on this machine from now on.

        Raises:
            ResourceError: The cache's folder cannot be written, and the cache is needed.
        """
        try:
            self.cache = open_cache(cache, self._split, self.layout)
        except ResourceError as error:
            self._go_on_without(error)

    def of_rows(self, rows: Rows) -> Rows:
        """The row group that holds each row."""
        return np.searchsorted(self.bounds, rows, side="right") - 1

    def covering(self, start: int, stop: int) -> range:
        """The row groups that hold a range of rows."""
        first, last = self.of_rows(np.array([start, max(start, stop - 1)]))
        return range(int(first), int(last) + 1)

    def read(self, group: int, part: slice = WHOLE) -> Packed:
        """Rows of a row group.

        Args:
            group: Which one.
            part: Which of its rows; the cache gets all of them.

        Raises:
            IntegrityError: Its shard is missing, truncated or otherwise not what was committed.
            StoreUnavailableError: The store did not answer, retries included.
            ResourceError: The cache's disk is full, and the cache is needed.
        """
        cache = self.cache  # another thread may find it full
        if cache is None:
            return self._decoded(group, part)
        # Lanes that share a row group ask for it at about the same time; one of them decodes it.
        with self._reading.setdefault(group, Lock()):
            if cache.holds(group):
                return part_of(cache.read(group), part)
            rows = self._decoded(group)
            try:
                cache.store(group, rows)
            except ResourceError as error:
                self._go_on_without(error)
            return part_of(rows, part)

    def keep(self, group: int) -> None:
        """Make sure that the cache holds a row group.

        Raises:
            As `read` does.
        """
        if self.cache is None or not self.cache.holds(group):
            self.read(group)
        self._kept.add(group)

    def taken(self, rows: Rows, *, by_column: bool) -> Packed:
        """Rows whose row groups are kept, by their number in the split, as `gathered` makes them.

        Raises:
            ValueError: There is no cache.
        """
        if self.cache is None:
            raise ValueError("rows can be taken by their number from a cache alone")
        return self.cache.take(rows, by_column=by_column)

    def not_kept(self, groups: Iterable[int]) -> list[int]:
        """Those that `keep` has not seen."""
        return [group for group in groups if group not in self._kept]

    def _go_on_without(self, error: ResourceError) -> None:
        if self.needs_cache:
            raise error
        if not self._warned:
            logger.warning("%s Going on without: no epoch of this training needs it.", error)
        self._warned, self.cache = True, None

    def _decoded(self, group: int, part: slice = WHOLE) -> Packed:
        return self._shards.row_group(*self._places[group], part)


def _warn_of_large(num_bytes: int, split: SplitName) -> None:
    if num_bytes > LARGE_GROUP_BYTES:
        logger.warning(
            "row groups of the %s split have up to %d MB, and a worker holds some of every lane; "
            "`shardline prepare` writes smaller ones",
            split,
            num_bytes >> 20,
        )
