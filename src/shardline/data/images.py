"""Image files in class folders to tensors: decoded side by side, in the order of their names."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.casting import cast_elements, tensor_array
from shardline.data.quarantine import Rejected
from shardline.data.rows import ORIGIN_FILE, ORIGIN_ROW, RawBatch
from shardline.data.schema import Column
from shardline.data.sources import SourceFile, SourceFiles
from shardline.errors import DataError

IMAGE_FEATURE = "image"
PATH_COLUMN = "path"
BATCH_BYTES = 16 << 20
MAX_BATCH_FILES = 1024
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Images beyond this are made to fill memory; Pillow itself only warns of them.
MAX_PIXELS = 1 << 26
# Pillow clips deeper samples to 255 when it converts them.
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


class _UndecodableError(Exception):
    """A file that is no image shardline can take; the message says why."""


def read_images(files: SourceFiles, column: Column, *, label: str | None) -> Iterator[RawBatch]:
    """One row per image: the tensor, the text `path`, and the class folder when asked for.

    Files that do not decode, or have another height or width than the column, are rejected.

    Args:
        files: The source.
        column: The image feature, of shape [height, width, channels].
        label: Column for the name of the class folder; None if folders mean nothing.

    Raises:
        DataError: The column is no image.
    """
    check_image_column(column)
    size = int(np.prod(column.shape)) * column.numpy_dtype.itemsize
    step = max(1, min(MAX_BATCH_FILES, BATCH_BYTES // size))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files.files), step):
            chunk = files.files[start : start + step]
            found = list(pool.map(lambda file: _tensor(files, file, column, label), chunk))
            yield _batch(chunk, found, column, label)


def infer_image_column(files: SourceFiles, name: str) -> Column:
    """The image feature as the first file that decodes has it.

    Raises:
        DataError: None does.
    """
    reason = ""
    for file in files.files:
        try:
            image = _loaded(_opened(files.read(file)))
        except _UndecodableError as error:
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


def _tensor(
    files: SourceFiles, file: SourceFile, column: Column, label: str | None
) -> "np.ndarray[Any, Any] | str":
    """The image's samples, or why there are none."""
    if label is not None and "/" not in file.name:
        return "lies in no class folder"
    return image_samples(files.read(file), column)


def image_samples(data: bytes, column: Column) -> "np.ndarray[Any, Any] | str":
    """An encoded image's samples in a column's shape, or why it has none."""
    height, width, channels = column.shape
    try:
        image = _opened(data)
        if (image.height, image.width) != (height, width):
            # Told by the header: samples of an image that claims to be huge are never made.
            found = [image.height, image.width, channels]
            return f"has shape {found}, expected {list(column.shape)}"
        return np.asarray(_loaded(image, mode=MODES[channels]), dtype=np.uint8)
    except _UndecodableError as error:
        return str(error)


def _opened(data: bytes) -> Any:
    """The image, of which nothing but the header is read.

    Raises:
        _UndecodableError: It is none, or larger than any that is meant to be learnt from.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data))
        _check_size(image.width * image.height)
    except UnidentifiedImageError as error:  # its text has a memory address: other in every run
        raise _UndecodableError("does not decode (it is no image that Pillow knows)") from error
    except Exception as error:
        raise _UndecodableError(f"does not decode ({type(error).__name__}: {error})") from error
    return image


def _check_size(num_pixels: int) -> None:
    if num_pixels > MAX_PIXELS:
        raise ValueError(f"it claims {num_pixels} pixels, at most {MAX_PIXELS} are taken")


def _loaded(image: Any, *, mode: str | None = None) -> Any:
    """The image with its samples, converted to a Pillow mode.

    Raises:
        _UndecodableError: They do not decode.
    """
    try:
        image.load()
        if image.mode in DEEP_MODES:
            raise ValueError(f"mode {image.mode} has more than 8 bits per sample")
        return image.convert(mode) if mode else image
    except Exception as error:
        raise _UndecodableError(f"does not decode ({type(error).__name__}: {error})") from error


def _batch(
    chunk: tuple[SourceFile, ...],
    found: "list[np.ndarray[Any, Any] | str]",
    column: Column,
    label: str | None,
) -> RawBatch:
    pairs = list(zip(chunk, found, strict=True))
    names = [file.name for file, image in pairs if not isinstance(image, str)]
    images = [image.ravel() for _, image in pairs if not isinstance(image, str)]
    flat = np.concatenate(images) if images else np.empty(0, np.uint8)
    columns: dict[str, Any] = {
        column.name: tensor_array(cast_elements(pa.array(flat), column.dtype), column),
        PATH_COLUMN: pa.array(names, pa.string()),
        ORIGIN_FILE: pa.array(names, pa.string()),
        ORIGIN_ROW: pa.array([1] * len(names), pa.int64()),
    }
    if label is not None:
        columns[label] = pa.array([name.split("/")[0] for name in names], pa.string())
    rejected = tuple(
        Rejected(f"image {image}", file.name, 1) for file, image in pairs if isinstance(image, str)
    )
    return RawBatch(pa.table(columns), tuple(columns), rejected)
