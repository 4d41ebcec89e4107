"""Tables parked in files between the passes over a source, so that memory stays bounded."""

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardline.errors import IntegrityError, ShardlineError, StoreUnavailableError
from shardline.store import NO_SPACE, PARTIAL_PREFIX, Store

# A column of a small batch has a few kilobytes, which Arrow would write by themselves: 1.2 GB of
# them took 3.5 s of the kernel's time, so gathered 1.9 s.
WRITE_BYTES = 1 << 20


@dataclass(frozen=True)
class Scratch:
    """A folder of Arrow IPC files that every task can reach; the caller removes what it wrote."""

    store: Store
    folder: str = ""
    """Key prefix in the store."""
    compression: str | None = None

    def write(self, name: str, batches: Iterable[pa.Table]) -> int:
        """Park tables of one schema, each as record batches of its own.

        The file appears under its name once it is complete.

        Returns:
            Its size in bytes; without tables it is empty.

        Raises:
            StoreUnavailableError: There is no room for it, or the store did not answer.
        """
        with self._written(name) as stream:
            writer = None
            options = pa.ipc.IpcWriteOptions(compression=self.compression)
            for table in batches:
                writer = writer or pa.ipc.new_file(stream, table.schema, options=options)
                writer.write_table(table)
            if writer is not None:
                writer.close()
            return int(stream.tell())

    def read(self, name: str, numbers: Sequence[int] | None = None) -> Iterator[pa.Table]:
        """The parked batches, or those of the given numbers, one by one.

        Raises:
            StoreUnavailableError: The file is gone, or the store did not answer.
            IntegrityError: It is not what was parked.
        """
        filesystem, root = self.store.filesystem()
        where = self.store.uri_of(self.folder + name)
        try:
            # No memory map: what it touches would count as this process's memory.
            with filesystem.open_input_file(f"{root}/{self.folder}{name}") as file:
                reader = pa.ipc.open_file(file)
                for number in range(reader.num_record_batches) if numbers is None else numbers:
                    yield pa.Table.from_batches([reader.get_batch(number)])
        except FileNotFoundError as error:
            raise StoreUnavailableError(
                f"{where} is gone, which another prepare of this dataset may have removed as it "
                "ended; run the same command again."
            ) from error
        except (OSError, pa.ArrowException, MemoryError) as error:
            if isinstance(error, OSError) and where.startswith("s3://"):
                raise StoreUnavailableError(
                    f"cannot read {where}: {error}; run the same command again."
                ) from error
            # Arrow also says OSError, or asks for all memory, when bytes make no sense.
            raise IntegrityError(
                f"{where} is damaged: {error}; remove it and run the same command again."
            ) from error

    def delete(self, name: str) -> None:
        """Remove a file; one that is already gone is no error."""
        self.store.delete(self.folder + name)

    @contextmanager
    def _written(self, name: str) -> Iterator[Any]:
        """A stream into a file that is there, whole, once the block has ended without an error."""
        filesystem, root = self.store.filesystem()
        folder, _, last = f"{root}/{self.folder}{name}".rpartition("/")
        is_local = self.store.uri.startswith("file://")
        # An object on S3 exists once its stream is closed; a file from its first byte.
        partial = f"{PARTIAL_PREFIX}{secrets.token_hex(8)}" if is_local else last
        with asking_for_room(folder), self.store.explaining(f"{self.folder}{name}"):
            if is_local:  # On S3 that would leave an empty object.
                filesystem.create_dir(folder, recursive=True)
            try:
                target = f"{folder}/{partial}"
                with filesystem.open_output_stream(target, buffer_size=WRITE_BYTES) as stream:
                    yield stream
                if is_local:
                    filesystem.move(target, f"{folder}/{last}")
            except BaseException:  # an interruption leaves half a file, too
                with suppress(OSError, ShardlineError):  # it may never have begun
                    if is_local:
                        filesystem.delete_file(target)
                    else:  # Arrow would leave an empty object in the folder's place.
                        self.store.delete(f"{self.folder}{name}")
                raise


@contextmanager
def asking_for_room(folder: str | Path) -> Iterator[None]:
    """Turn a full disk into a sentence.

    Raises:
        StoreUnavailableError: What was done in the block found no room in the folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in NO_SPACE:
            raise
        raise StoreUnavailableError(
            f"no room to park rows in {folder}: {os.strerror(error.errno)}; make room there, "
            "or set TMPDIR to a folder of a larger disk if it is a temporary one, and run the "
            "same command again."
        ) from error
