"""Rows of a split on this machine's disk, decoded and packed, for all workers of the machine.

An entry holds one file per block of the layout, with row r of the split at place r, so workers fill
in the row groups they read in any order, and any set of rows is one gather from a memory map. The
files are sparse: what no worker of this machine has read takes no space. Strings lie in a file of
their own, where their block points to. A row group counts once its mark is written, with a checksum
over its rows; rows that a crash or a full disk kept from the disk are noticed and read again.
"""

import fcntl
import hashlib
import json
import mmap
import os
import threading
import weakref
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.cache_folder import Entry, cache_root, open_entry, unwritable
from shardline.data.decoding import DECODING
from shardline.data.manifest import Split
from shardline.data.packing import Array, Block, Layout, Packed, gathered
from shardline.data.reused_memory import ReusedMemory
from shardline.data.schema import Column
from shardline.spec.train import CacheSpec

FORMAT = 2
MARKED = np.uint64(1 << 63)
MARKS, TEXTS = "marks", "texts"
PAGE_BYTES = 4096
# A string's place in the file of texts and its length.
POINTER = np.dtype([("start", "<i8"), ("length", "<i8")])


class RowCache:
    """What this machine keeps of the rows of a split; safe for several threads and processes.

    Args:
        entry: Where it is.
        layout: How rows are packed.
        bounds: Number of the first row of each row group, and of all rows, int64 [groups + 1].
    """

    def __init__(self, entry: Entry, layout: Layout, bounds: Array) -> None:
        self._entry = entry
        self._layout = layout
        self._bounds = bounds
        self._files = {name: os.open(entry.path / name, os.O_RDWR) for name in _sizes(layout, 0, 0)}
        self._marks = self._map(MARKS, np.dtype("<u8"), 1)[:, 0]
        self._blocks = [
            self._map(_file_of(number), _stored_dtype(block), block.width)
            for number, block in enumerate(layout.blocks)
        ]
        self._texts = np.empty(0, np.uint8)
        self._memory = ReusedMemory()
        self._appending = threading.Lock()  # a lock on a file does not hold threads apart
        self._checked: set[int] = set()
        self._closing = weakref.finalize(self, _close, [*self._files.values()], entry)

    def close(self) -> None:
        """Let go of the entry, as happens when nobody refers to this any more.

        Arrays that were taken stay valid.
        """
        self._closing()

    def holds(self, group: int) -> bool:
        """Whether a row group is there; the first time it is asked, its checksum is tried."""
        if group in self._checked:
            return True
        mark = self._marks[group]
        if not mark & MARKED or mark != MARKED | np.uint64(self._checksum_of(group)):
            return False
        self._checked.add(group)
        return True

    def store(self, group: int, rows: Packed) -> None:
        """Keep a row group. Two that store the same one at the same time do no harm.

        Raises:
            ResourceError: There is no room.
        """
        first, checksum = int(self._bounds[group]), 0
        try:
            for number, (block, array) in enumerate(zip(self._layout.blocks, rows, strict=True)):
                if block.is_text:
                    stored, offsets, texts = self._appended(array)
                    checksum = _checksum(texts, _checksum(offsets, checksum))
                else:
                    stored = np.ascontiguousarray(array)
                    checksum = _checksum(stored, checksum)
                size = stored.dtype.itemsize * block.width
                _write(self._files[_file_of(number)], stored, first * size)
            mark = np.array([MARKED | np.uint64(checksum)], "<u8")
            _write(self._files[MARKS], mark, group * mark.itemsize)
        except OSError as error:
            raise unwritable(self._entry.path.parent, error) from error
        self._checked.add(group)

    def take(self, rows: Array, *, by_column: bool = False) -> Packed:
        """Rows by their number in the split, as `gathered` makes them.

        Their row groups must be there.
        """
        taken = []
        for block, array in zip(self._layout.blocks, self._blocks, strict=True):
            found = gathered(block, array, rows, self._memory, by_column=by_column)
            taken.append(self._strings(found) if block.is_text else found)
        return tuple(taken)

    def read(self, group: int) -> Packed:
        """The rows of a row group that is there, as views where possible."""
        rows = slice(self._bounds[group], self._bounds[group + 1])
        return tuple(
            self._strings(array[rows]) if block.is_text else array[rows]
            for block, array in zip(self._layout.blocks, self._blocks, strict=True)
        )

    def _checksum_of(self, group: int) -> int:
        rows = slice(self._bounds[group], self._bounds[group + 1])
        found = 0
        for block, array in zip(self._layout.blocks, self._blocks, strict=True):
            part = array[rows]
            if block.is_text:
                offsets, texts = self._bytes_at(part)
                found = _checksum(texts, _checksum(offsets, found))
            else:
                found = _checksum(part, found)
        return found

    def _appended(self, values: Array) -> tuple[Array, Array, Array]:
        """Append strings to the file of texts.

        Returns:
            Pointers in the values' shape; int64 [n + 1] where each string begins; their bytes.
        """
        array = pa.array(values.ravel(), pa.large_string())
        _, offsets, data = array.buffers()
        begins = np.frombuffer(offsets, np.int64, len(array) + 1)
        texts = np.frombuffer(data or b"", np.uint8)[: begins[-1]]
        file = self._files[TEXTS]
        with self._appending:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                end = os.fstat(file).st_size
                _write(file, texts, end)
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        pointers = np.empty(len(array), POINTER)
        pointers["start"], pointers["length"] = end + begins[:-1], np.diff(begins)
        return pointers.reshape(values.shape), begins, texts

    def _strings(self, pointers: Array) -> Array:
        offsets, texts = self._bytes_at(pointers)
        array = pa.LargeStringArray.from_buffers(
            pointers.size, pa.py_buffer(offsets), pa.py_buffer(texts)
        )
        strings: Array = array.to_numpy(zero_copy_only=False).reshape(pointers.shape)
        return strings

    def _bytes_at(self, pointers: Array) -> tuple[Array, Array]:
        """Strings one after the other: int64 [n + 1] where each begins, and their bytes.

        Pointers that lead out of the file of texts give no bytes at all.
        """
        starts, lengths = pointers["start"].ravel(), pointers["length"].ravel()
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        end = int((starts + lengths).max(initial=0))
        texts = self._texts
        if end > len(texts):
            texts = self._texts = self._map(TEXTS, np.dtype(np.uint8), 1)[:, 0]
        if end > len(texts) or lengths.min(initial=0) < 0 or starts.min(initial=0) < 0:
            return np.zeros(len(lengths) + 1, np.int64), np.empty(0, np.uint8)
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return offsets, texts.take(places)

    def _map(self, name: str, dtype: "np.dtype[Any]", width: int) -> Array:
        """A file as rows of `width` elements, read-only."""
        size = os.fstat(self._files[name]).st_size
        if size == 0:
            return np.empty((0, width), dtype)
        mapped = mmap.mmap(self._files[name], size, prot=mmap.PROT_READ)
        return np.frombuffer(mapped, dtype).reshape(-1, width)


def open_cache(cache: CacheSpec, split: Split, layout: Layout) -> RowCache:
    """What this machine keeps of a split and some columns, shared by its workers.

    Args:
        cache: Where, and how large at most.
        split: The rows.
        layout: The columns.

    Raises:
        ResourceError: The folder cannot be written.
    """
    groups = [rows for shard in split.shards for rows in shard.row_groups]
    text_bytes = sum(shard.table_bytes for shard in split.shards) * any(
        block.is_text for block in layout.blocks
    )
    entry = open_entry(
        cache_root(cache),
        _name_of(split, layout),
        files=_sizes(layout, split.rows, len(groups)),
        # All of it: which share the workers of this machine have is not known here.
        needed_bytes=layout.row_bytes * split.rows + text_bytes,
        max_bytes=cache.max_bytes,
    )
    return RowCache(entry, layout, row_bounds(groups))


def row_bounds(row_groups: Sequence[int]) -> Array:
    """Number of the first row of each row group, and of all rows, int64 [groups + 1]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(row_groups, dtype=np.int64)])


def _name_of(split: Split, layout: Layout) -> str:
    """A digest of the rows, how they are packed, and whose they are."""
    content = {
        "format": FORMAT,
        "user": os.getuid(),  # others may not read what this one wrote
        "shards": [(shard.sha256, shard.row_groups) for shard in split.shards],
        "columns": [_identity(column) for column in layout.columns],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _identity(column: Column) -> tuple[Any, ...]:
    how = (DECODING,) if column.encoded else ()
    return column.name, column.dtype, column.shape, *how


def _sizes(layout: Layout, num_rows: int, num_groups: int) -> dict[str, int]:
    """Bytes of every file of an entry; texts grow as they come."""
    sizes = {MARKS: num_groups * 8}
    for number, block in enumerate(layout.blocks):
        sizes[_file_of(number)] = num_rows * _stored_dtype(block).itemsize * block.width
        if block.is_text:
            sizes[TEXTS] = 0
    return sizes


def _stored_dtype(block: Block) -> "np.dtype[Any]":
    return POINTER if block.is_text else block.dtype


def _file_of(number: int) -> str:
    return f"block-{number}"


def _checksum(array: Array, before: int) -> int:
    """Of the sums of pages: what a disk loses is pages, and sums take a tenth of the time."""
    data = array.reshape(-1).view(np.uint8)
    whole = len(data) // PAGE_BYTES * PAGE_BYTES
    words = data[:whole].view(np.uint64).reshape(-1, PAGE_BYTES // 8)
    return zlib.crc32(data[whole:].data, zlib.crc32(words.sum(axis=1).data, before))


def _close(files: list[int], entry: Entry) -> None:
    for file in files:
        os.close(file)
    entry.close()


def _write(file: int, array: Array, position: int) -> None:
    data = array.data.cast("B") if array.size else memoryview(b"")
    while data:
        written = os.pwrite(file, data, position)
        data, position = data[written:], position + written
