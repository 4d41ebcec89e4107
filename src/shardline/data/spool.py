"""Tables parked on local disk between the passes over a source, so that memory stays bounded."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa


class Spool:
    """A list of tables of any schema, one Arrow IPC file each, read back by memory map.

    Args:
        folder: Created if missing; the caller removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._length = 0
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[pa.Table]:
        return (self.table(index) for index in range(self._length))

    def append(self, table: pa.Table) -> None:
        """Park one table."""
        with pa.ipc.new_file(str(self._file(self._length)), table.schema) as writer:
            writer.write_table(table)
        self._length += 1

    def table(self, index: int) -> pa.Table:
        """The table parked as number `index`."""
        return pa.ipc.open_file(pa.memory_map(str(self._file(index)))).read_all()

    def _file(self, index: int) -> Path:
        return self._folder / f"{index:08d}.arrow"
