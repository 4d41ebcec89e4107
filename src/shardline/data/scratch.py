"""Tables parked in files between the passes over a source, so that memory stays bounded."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from shardline.store import Store


@dataclass(frozen=True)
class Scratch:
    """A folder of Arrow IPC files that every task can reach; the caller removes what it wrote."""

    store: Store
    folder: str = ""
    """Key prefix in the store."""
    compression: str | None = None

    def write(self, name: str, batches: Iterable[pa.Table]) -> int:
        """Park tables of one schema, each as record batches of its own.

        Returns:
            How many batches there are; without one, there is no file.
        """
        count = 0
        writer = None
        options = pa.ipc.IpcWriteOptions(compression=self.compression)
        filesystem, root = self.store.filesystem()
        path = f"{root}/{self.folder}{name}"
        if self.store.uri.startswith("file://"):  # On S3 that would leave an empty object.
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with filesystem.open_output_stream(path) as stream:
            for table in batches:
                writer = writer or pa.ipc.new_file(stream, table.schema, options=options)
                for batch in table.to_batches():
                    writer.write_batch(batch)
                    count += 1
            if writer is not None:
                writer.close()
        return count

    def read(self, name: str, numbers: Sequence[int] | None = None) -> Iterator[pa.Table]:
        """The parked batches, or those of the given numbers, one by one."""
        filesystem, root = self.store.filesystem()
        # No memory map: what it touches would count as this process's memory.
        with filesystem.open_input_file(f"{root}/{self.folder}{name}") as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches) if numbers is None else numbers:
                yield pa.Table.from_batches([reader.get_batch(number)])

    def delete(self, name: str) -> None:
        """Remove a file."""
        self.store.delete(self.folder + name)
