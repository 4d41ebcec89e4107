"""HDF5 as Keras writes it: groups and plain arrays, every byte of them in this very file.

The format can do more: links and arrays that lie in other files, which whoever opens the file then
reads; filters that are loaded as plugins; shapes without bytes; groups that contain themselves.
"""

import math
from collections.abc import Iterator
from typing import IO, Any

from shardline.artifacts.safety.hdf5_heaps import damaged_heap
from shardline.artifacts.safety.limits import (
    MAX_ATTRIBUTE_BYTES,
    MAX_HDF5_DEPTH,
    MAX_HDF5_OBJECTS,
    MAX_MEMBER_EXPANSION,
    MIN_BOMB_BYTES,
)
from shardline.artifacts.safety.refusal import quoted, refuse

RESAVE = "save the model anew"
CONFIG_ATTRIBUTES = ("model_config", "training_config")
"""Of the root, where Keras 2 kept a model's config."""

UNREADABLE = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError,
)  # fmt: skip
"""What h5py raises on damaged bytes."""

# Deflate, shuffle, Fletcher's checksum and h5py's own LZF; any other would be looked for on disk.
FILTERS = frozenset({1, 2, 3, 32000})

# Not text and no reference: neither is a weight.
ARRAY_KINDS = "biufcV"


def look_through(content: IO[bytes], model: str, *, file_bytes: int) -> list[str]:
    """What `hdf5_process.check_hdf5` does, in this process."""
    import h5py

    damage = damaged_heap(content)
    if damage:
        refuse(model, f"holds no HDF5 that can be read ({damage})", RESAVE)
    try:
        with h5py.File(content, "r") as file:
            _Walk(file, model, file_bytes).check()
            found = [file.attrs[name] for name in CONFIG_ATTRIBUTES if name in file.attrs]
            return [
                config.decode("utf-8", "replace") if isinstance(config, bytes) else str(config)
                for config in found
            ]
    except UNREADABLE as error:
        refuse(model, f"holds no HDF5 that can be read ({error})", RESAVE)


class _Walk:
    """One pass over all objects of a file."""

    def __init__(self, file: Any, model: str, file_bytes: int) -> None:
        self._file = file
        self._model = model
        self._file_bytes = file_bytes
        self._seen: set[int] = set()
        self._stored = 0

    def check(self) -> None:
        waiting = [(self._file, 0)]
        while waiting:
            group, depth = waiting.pop()
            self._visit(group, depth)
            for child in self._children(group):
                if self._is_group(child):
                    waiting.append((child, depth + 1))
                else:
                    self._visit(child, depth + 1)
                    self._check_array(child)

    def _visit(self, found: Any, depth: int) -> None:
        import h5py

        address = h5py.h5o.get_info(found.id).addr
        if address in self._seen:
            self._refuse(found.name, "appears twice")
        self._seen.add(address)
        if depth > MAX_HDF5_DEPTH or len(self._seen) > MAX_HDF5_OBJECTS:
            self._refuse(found.name, "lies too deep, or is one of too many")
        for index in range(h5py.h5a.get_num_attrs(found.id)):
            attribute = h5py.h5a.open(found.id, index=index)
            size = math.prod(attribute.shape or ()) * attribute.dtype.itemsize
            if size > MAX_ATTRIBUTE_BYTES:
                self._refuse(found.name, f"has an attribute of {size:,} bytes")

    def _children(self, group: Any) -> Iterator[Any]:
        import h5py

        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                self._refuse(f"{group.name}/{key}", "is a link")
            yield group[key]

    def _is_group(self, found: Any) -> bool:
        import h5py

        return isinstance(found, h5py.Group)

    def _check_array(self, found: Any) -> None:
        import h5py

        if not isinstance(found, h5py.Dataset):
            self._refuse(found.name, "is neither group nor array")
        # Before its shape is asked for: of a virtual array that opens the files it is made of.
        plan = found.id.get_create_plist()
        if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
            self._refuse(found.name, "refers to other files")
        filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
        if filters - FILTERS:
            self._refuse(found.name, f"needs the filters {sorted(filters - FILTERS)}")
        if found.dtype.kind not in ARRAY_KINDS or found.dtype.hasobject:
            self._refuse(found.name, f"holds {found.dtype}, which is no number")
        declared = math.prod(found.shape or ()) * found.dtype.itemsize
        stored = found.id.get_storage_size()
        self._stored += stored
        if self._stored > self._file_bytes:
            self._refuse(found.name, f"takes more than the {self._file_bytes:,} bytes of the file")
        if declared > MIN_BOMB_BYTES and declared > MAX_MEMBER_EXPANSION * stored:
            self._refuse(found.name, f"declares {declared:,} bytes, of which it holds {stored:,}")

    def _refuse(self, name: object, found: str) -> None:
        refuse(self._model, f"has {quoted(name)}, which {found}", RESAVE)
