"""Shards to Arrow tables and numpy arrays, for training, evaluation and scoring alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shardline.data.casting import tensor_array
from shardline.data.decoding import Samples, decoded_images, decoding_threads, files_of
from shardline.data.manifest import DatasetManifest, Shard
from shardline.data.reused_memory import ReusedMemory
from shardline.data.schema import Column
from shardline.errors import DataError, IntegrityError, NotFoundError
from shardline.spec.data import SplitName
from shardline.store import Store, read_verified


def shard_table(
    store: Store,
    manifest: DatasetManifest,
    shard: Shard,
    *,
    columns: Sequence[str] | None = None,
    row_groups: Sequence[int] | None = None,
) -> pa.Table:
    """Rows of one shard, encoded images decoded.

    Args:
        store: Where the dataset lives.
        manifest: The dataset.
        shard: One of its shards.
        columns: Columns to read, in this order; left out, all.
        row_groups: Row groups to read, in this order; left out, all.

    Raises:
        DataError: The dataset has no such column.
        IntegrityError: The shard is missing, truncated or otherwise not what was committed, or an
            image in it does not decode.
        StoreUnavailableError: The store did not answer, retries included.
    """
    key = f"{manifest.folder}/{shard.key}"
    wanted = _known_columns(manifest, columns)
    groups = list(range(len(shard.row_groups)) if row_groups is None else row_groups)
    try:
        filesystem, root = store.filesystem()
        with filesystem.open_input_file(f"{root}/{key}") as file:
            table = _decoded(file, shard, wanted, groups)
    except (pa.ArrowException, OSError):
        # Arrow raises the same classes for damaged bytes and for a store that stumbled. The whole
        # object, fetched with the store's retries and held against its hash, tells them apart.
        table = _decoded_again(store, key, shard, wanted, groups)
    images = ShardImages(manifest, store.uri_of(key), shard, groups)
    return images.decoded(table, threads=decoding_threads())


@dataclass(frozen=True)
class ShardImages:
    """The encoded images of some row groups of a shard."""

    manifest: DatasetManifest
    uri: str
    shard: Shard
    groups: list[int]

    def decoded(
        self,
        table: pa.Table,
        *,
        threads: int,
        memory: ReusedMemory | None = None,
        first: int = 0,
    ) -> pa.Table:
        """The table with samples in place of image files.

        Args:
            table: Consecutive rows of the row groups.
            threads: How many images to decode at the same time.
            memory: Where samples go; left out, memory of their own.
            first: Which row of the row groups the table begins with.

        Raises:
            IntegrityError: An image does not decode.
        """
        for column in self.manifest.columns.features:
            if not column.encoded or column.name not in table.schema.names:
                continue
            place = table.schema.get_field_index(column.name)
            files = files_of(_one_array(table.column(place)))
            samples = self.samples(files, column, threads=threads, memory=memory, first=first)
            field = pa.field(column.name, column.arrow_type, nullable=False)
            tensors = tensor_array(pa.array(samples.ravel()), column)
            table = table.set_column(place, field, tensors)
        return table

    def samples(
        self,
        files: Sequence[Any],
        column: Column,
        *,
        threads: int,
        memory: ReusedMemory | None,
        first: int,
    ) -> Samples:
        """A column's images as uint8 [rows, height, width, channels].

        Args:
            files: Their bytes.
            column: What they become.
            threads: As in `decoded`.
            memory: As in `decoded`.
            first: As in `decoded`.

        Raises:
            IntegrityError: An image does not decode.
        """
        found = decoded_images(files, column, threads=threads, memory=memory)
        if found.faults:
            position, fault = min(found.faults.items())
            raise self._broken(column, first + position, fault)
        return found.samples

    def _broken(self, column: Column, position: int, fault: str) -> IntegrityError:
        for group in self.groups:
            rows = self.shard.row_groups[group]
            if position < rows:
                position += sum(self.shard.row_groups[:group])
                break
            position -= rows
        return IntegrityError(
            f"shard {self.uri}, row {position + 1}: image {column.name!r} {fault}, although "
            "`prepare` could decode it; use the Pillow that prepared the dataset, or delete the "
            "dataset's folder and prepare again."
        )


def read_split(
    store: Store,
    manifest: DatasetManifest,
    split: SplitName,
    *,
    columns: Sequence[str] | None = None,
) -> Iterator[pa.Table]:
    """One table per shard of a split, in shard order; the split's rows, each once.

    Raises:
        DataError: The dataset has no such column.
        IntegrityError: A shard is not what was committed.
    """
    for shard in manifest.split(split).shards:
        yield shard_table(store, manifest, shard, columns=columns)


def column_to_numpy(array: pa.ChunkedArray | pa.Array, column: Column) -> "np.ndarray[Any, Any]":
    """Values of one column, without a copy where Arrow allows (numbers in a single chunk).

    Args:
        array: The column, of type `column.arrow_type`.
        column: What its values are.

    Returns:
        Array of shape (rows, *column.shape); strings as Python `str` objects, timestamps as int64
        microseconds since 1970.

    Raises:
        DataError: A value is null, or the array is not of the column's type.
    """
    whole = _one_array(array)
    if whole.type != column.arrow_type:
        raise DataError(
            f"column {column.name!r} holds {whole.type}, expected {column.arrow_type}; "
            "prepare the dataset again."
        )
    values = whole.storage.flatten() if column.shape else whole
    if column.dtype == "timestamp":
        values = values.cast(pa.int64())
    nulls = whole.null_count or values.null_count
    if nulls:
        raise DataError(
            f"column {column.name!r} has {nulls} nulls in {len(whole)} rows, expected none; "
            "quarantine or fill them before they are read as numbers."
        )
    # Booleans are bits in Arrow and bytes in numpy; strings become objects: both must copy.
    flat: np.ndarray[Any, Any] = values.to_numpy(zero_copy_only=False)
    return flat.reshape(len(whole), *column.shape)


def _one_array(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    if not isinstance(array, pa.ChunkedArray):
        return array
    # combine_chunks copies even a single chunk.
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()


def _known_columns(manifest: DatasetManifest, columns: Sequence[str] | None) -> list[str] | None:
    if columns is None:
        return None
    schema = manifest.columns
    known = [*(c.name for c in schema.features), schema.label.name, *schema.carried]
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise DataError(
            f"dataset {manifest.name!r} has no column {unknown[0]!r}; it has {', '.join(known)}."
        )
    return list(columns)


def _decoded(file: Any, shard: Shard, columns: list[str] | None, groups: list[int]) -> pa.Table:
    metadata = checked_metadata(file, shard)
    parquet = pq.ParquetFile(
        file, metadata=metadata, pre_buffer=True, page_checksum_verification=True
    )
    table = parquet.read_row_groups(groups, columns=columns)
    return table if columns is None else table.select(columns)


def checked_metadata(file: Any, shard: Shard) -> Any:
    """The footer of a shard's file.

    Raises:
        pa.ArrowInvalid: The file is not the one that was committed.
    """
    if file.size() != shard.size_bytes:
        raise pa.ArrowInvalid(f"{file.size()} bytes, its marker promises {shard.size_bytes}")
    try:
        metadata = pq.ParquetFile(file).metadata
    except UnicodeDecodeError as error:  # names of columns in a damaged footer
        raise pa.ArrowInvalid(f"a footer that cannot be read: {error}") from error
    found = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    if found != shard.row_groups:
        raise pa.ArrowInvalid(f"row groups {found}, its marker promises {shard.row_groups}")
    return metadata


def _decoded_again(
    store: Store, key: str, shard: Shard, columns: list[str] | None, groups: list[int]
) -> pa.Table:
    try:
        data = read_verified(store, key, sha256=shard.sha256)
    except NotFoundError as error:
        raise IntegrityError(
            f"shard {store.uri_of(key)} is missing though its dataset names it; "
            "restore it, or delete the dataset's folder and prepare again."
        ) from error
    try:
        return _decoded(pa.BufferReader(data), shard, columns, groups)
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(
            f"shard {store.uri_of(key)} has the bytes that were committed, yet they are no "
            f"readable Parquet ({error}); delete the dataset's folder and prepare again."
        ) from error
