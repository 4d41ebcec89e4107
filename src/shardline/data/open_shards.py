"""Shards that stay open, for reading single row groups from several threads."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shardline.data.manifest import DatasetManifest, Shard
from shardline.data.reading import checked_metadata
from shardline.store import Store

# Their footers stay in memory: about 100 KB for 50 columns.
MAX_OPEN_SHARDS = 256


@dataclass
class OpenShard:
    """A file and its footer, which is read once."""

    file: Any
    metadata: Any
    schema: pa.Schema
    is_local: bool
    reads_pages: bool = True
    """Whether its tensors can be read without Arrow; not so in datasets of earlier versions."""
    _idle: list[Any] = field(default_factory=list)
    """Readers of it that nobody uses."""

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Columns of a row group, as the shard holds them.

        Raises:
            pa.ArrowException: They are damaged.
            OSError: So they are, or the store did not answer.
        """
        try:  # one reader serves one thread at a time
            parquet = self._idle.pop()
        except IndexError:
            parquet = pq.ParquetFile(
                self.file,
                metadata=self.metadata,
                pre_buffer=not self.is_local,  # from S3 columns come in few large ranges
                page_checksum_verification=True,
            )
        wanted = None if list(columns) == self.schema.names else list(columns)
        table = parquet.read_row_group(group, columns=wanted, use_threads=False)
        if self.is_local:  # others hold what they have buffered
            self._idle.append(parquet)
        return table


class OpenShards:
    """The shards of a dataset that were read last; may be used by several threads.

    Args:
        store: Where the dataset lives.
        manifest: The dataset.
    """

    def __init__(self, store: Store, manifest: DatasetManifest) -> None:
        self._store = store
        self._manifest = manifest
        self._opened: OrderedDict[str, OpenShard] = OrderedDict()
        self._lock = Lock()

    def open(self, shard: Shard) -> OpenShard:
        """One of them.

        Raises:
            pa.ArrowInvalid: It is not what was committed.
            OSError: It is missing, or the store did not answer.
        """
        with self._lock:
            found = self._opened.get(shard.key)
            if found is not None:
                self._opened.move_to_end(shard.key)
                return found
        filesystem, root = self._store.filesystem()
        file = filesystem.open_input_file(f"{root}/{self._manifest.folder}/{shard.key}")
        metadata = checked_metadata(file, shard)
        schema = metadata.schema.to_arrow_schema()
        is_local = self._store.uri.startswith("file://")
        opened = OpenShard(file, metadata, schema, is_local=is_local)
        with self._lock:
            self._opened[shard.key] = opened
            if len(self._opened) > MAX_OPEN_SHARDS:
                self._opened.popitem(last=False)  # closed when its last reader is done
        return opened

    def forget(self, shard: Shard) -> None:
        """Open it anew the next time."""
        with self._lock:
            self._opened.pop(shard.key, None)
