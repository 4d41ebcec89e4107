"""Image files in class folders to rows: read side by side, in the order of their names."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa

from shardline.data.casting import tensor_array
from shardline.data.decoding import MODES, UndecodableError, loaded, opened
from shardline.data.elements import cast_elements
from shardline.data.quarantine import Rejected
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RawBatch
from shardline.data.schema import Column
from shardline.data.sources import SourceFile, SourceFiles
from shardline.errors import DataError

IMAGE_FEATURE = "image"
PATH_COLUMN = "path"
BATCH_BYTES = 16 << 20
MAX_BATCH_FILES = 1024

Found = np.ndarray[Any, Any] | bytes | str
"""An image's samples, or its bytes where it stays encoded, or why there is neither."""


def read_images(files: SourceFiles, column: Column, *, label: str | None) -> Iterator[RawBatch]:
    """One row per image: its samples, the text `path`, and the class folder when asked for.

    Files that do not decode, or have another height or width than the column, are rejected. Of a
    column that stays encoded the row has the file's bytes, and nothing is decoded here.

    Args:
        files: The source.
        column: The image feature, of shape [height, width, channels].
        label: Column for the name of the class folder; None if folders mean nothing.

    Raises:
        DataError: The column is no image.
    """
    check_image_column(column)
    with ThreadPoolExecutor() as pool:
        for chunk in _chunks(files.files, column):
            found = list(pool.map(lambda file: _found(files, file, column, label), chunk))
            yield _batch(chunk, found, column, label)


def infer_image_column(files: SourceFiles, name: str) -> Column:
    """The image feature as the first file that decodes has it.

    Raises:
        DataError: None does.
    """
    reason = ""
    for file in files.files:
        try:
            image = loaded(opened(files.read(file)))
        except UndecodableError as error:
            reason = reason or f"{file.name} {error}"
            continue
        transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        channels = 4 if transparent else 1 if image.mode in ("1", "L") else 3
        return Column(name=name, dtype="uint8", shape=(image.height, image.width, channels))
    raise DataError(f"none of the {len(files.files)} images in {files.uri} decodes: {reason}.")


def check_image_column(column: Column) -> None:
    """Refuse a feature that no image can become.

    Raises:
        DataError: Its dtype is no number or its shape not [height, width, 1, 3 or 4].
    """
    if column.dtype in ("string", "bool") or len(column.shape) != 3 or column.shape[2] not in MODES:
        raise DataError(
            f"feature {column.name!r} is {column.dtype} of shape {list(column.shape)}; images "
            "become numbers of shape [height, width, channels] with 1, 3 or 4 channels."
        )


def image_samples(data: bytes, column: Column) -> "np.ndarray[Any, Any] | str":
    """An encoded image's samples in a column's shape, which is its own, or why it has none."""
    height, width, channels = column.shape
    try:
        image = opened(data)
        if (image.height, image.width) != (height, width):
            # Told by the header: samples of an image that claims to be huge are never made.
            found = [image.height, image.width, channels]
            return f"has shape {found}, expected {list(column.shape)}"
        return np.asarray(loaded(image, mode=MODES[channels]), dtype=np.uint8)
    except UndecodableError as error:
        return str(error)


def image_array(images: Sequence[Any], column: Column) -> pa.Array:
    """Samples, or the bytes of images that stay encoded, as a shard has them."""
    if column.encoded:
        return pa.array(images, column.stored_type)
    flat = np.concatenate([each.ravel() for each in images]) if images else np.empty(0, np.uint8)
    return tensor_array(cast_elements(pa.array(flat), column.dtype), column)


def _chunks(files: tuple[SourceFile, ...], column: Column) -> Iterator[tuple[SourceFile, ...]]:
    """Runs of files whose rows make one batch."""
    chunk: list[SourceFile] = []
    held = 0
    for file in files:
        size = file.size if column.encoded else column.num_bytes
        if chunk and (held + size > BATCH_BYTES or len(chunk) == MAX_BATCH_FILES):
            yield tuple(chunk)
            chunk, held = [], 0
        chunk.append(file)
        held += size
    if chunk:
        yield tuple(chunk)


def _found(files: SourceFiles, file: SourceFile, column: Column, label: str | None) -> Found:
    if label is not None and "/" not in file.name:
        return "lies in no class folder"
    data = files.read(file)
    return data if column.encoded else image_samples(data, column)


def _batch(
    chunk: tuple[SourceFile, ...],
    found: list[Found],
    column: Column,
    label: str | None,
) -> RawBatch:
    pairs = list(zip(chunk, found, strict=True))
    names = [file.name for file, image in pairs if not isinstance(image, str)]
    images = [image for _, image in pairs if not isinstance(image, str)]
    columns: dict[str, Any] = {
        column.name: image_array(images, column),
        PATH_COLUMN: pa.array(names, pa.string()),
        ORIGIN_FILE: pa.array(names, pa.string()),
        ORIGIN_ROW: pa.array([1] * len(names), pa.int64()),
    }
    if label is not None:
        folders = [name.split("/")[0] for name in names]
        # Some file systems and archives decompose names: the same class, spelt in other bytes.
        columns[label] = pa.array([normalize("NFC", folder) for folder in folders], pa.string())
    rejected = tuple(
        Rejected(f"image {image}", file.name, 1) for file, image in pairs if isinstance(image, str)
    )
    return RawBatch(pa.table(columns), tuple(columns), rejected)
