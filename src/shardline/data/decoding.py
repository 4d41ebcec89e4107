"""Encoded images to samples: the one way, for checking, batches, scoring and requests alike.

An image of any size is turned upright by its EXIF orientation and stretched to the feature's height
and width by a triangle filter that widens as the image shrinks (Pillow's BILINEAR), so it leaves no
aliases. A JPEG of more than twice that size is decoded at a half, a quarter or an eighth of its own
first, never below twice the feature's. All of it is integer arithmetic: machines with the same
Pillow make the same bytes.
"""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.reused_memory import ReusedMemory
from shardline.data.schema import Column

DECODING = 1
"""Part of the names under which decoded rows are kept: raise it when samples change."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Images beyond this are made to fill memory; Pillow itself only warns of them.
MAX_PIXELS = 1 << 26
# Decoded one at a time: in every thread at once they would take gigabytes.
LARGE_PIXELS = 1 << 24
# Pillow clips deeper samples to 255 when it converts them.
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# Pillow's own thumbnails leave the decoder as much; the difference is less than one level.
DECODED_PER_PIXEL = 2
ORIENTATION = 0x0112

Samples = np.ndarray[Any, np.dtype[np.uint8]]

_large = Lock()


class UndecodableError(Exception):
    """Bytes that are no image shardline can take; the message says why, as in "is empty"."""


@dataclass(frozen=True)
class DecodedImages:
    """A column of encoded images, decoded."""

    samples: Samples
    """uint8 [rows, height, width, channels]; zeros where an image has a fault."""
    faults: dict[int, str]
    """Why there are no samples, by position."""


def decoded_images(
    files: Sequence[Any], column: Column, *, threads: int = 1, memory: ReusedMemory | None = None
) -> DecodedImages:
    """The samples of a column's images.

    Args:
        files: The bytes of each; None is a fault.
        column: The feature they become, of shape [height, width, channels].
        threads: How many to decode at the same time, off the interpreter's lock.
        memory: Where they go; left out, memory of their own.
    """
    shape = (len(files), *column.shape)
    if memory is None:
        samples = np.empty(shape, np.uint8)
    else:
        samples = memory.take(prod(shape)).reshape(shape)

    def keep(row: int, image: Samples) -> None:
        samples[row] = image

    faults = _faults(files, column, keep, threads)
    samples[list(faults)] = 0
    return DecodedImages(samples, faults)


def undecodable_images(files: Sequence[Any], column: Column, *, threads: int = 1) -> dict[int, str]:
    """What `decoded_images` would find wrong, by position; samples are not kept."""
    return _faults(files, column, lambda *_: None, threads)


def files_of(values: pa.Array) -> list[Any]:
    """The bytes of each of an Arrow array's values, None for a null; nothing is copied."""
    return [value.as_buffer() if value.is_valid else None for value in values]


def decoded_image(data: Any, column: Column) -> Samples:
    """An image's samples in a column's shape.

    Args:
        data: The bytes of an image file.
        column: Of shape [height, width, channels].

    Raises:
        UndecodableError: There are none.
    """
    height, width, channels = column.shape
    image = opened(data)
    is_large = image.width * image.height > LARGE_PIXELS
    with _large if is_large else nullcontext():
        try:
            return _samples(image, (width, height), MODES[channels])
        except Exception as error:
            raise _undecodable(error) from error


def opened(data: Any) -> Any:
    """The image, of which nothing but the header is read.

    Raises:
        UndecodableError: It is none, or larger than any that is meant to be learnt from.
    """
    from PIL import Image

    if not len(data):
        raise UndecodableError("does not decode (it has no bytes)")
    try:
        image = Image.open(io.BytesIO(data))
        _check_size(image.width * image.height)
    except Exception as error:
        raise _undecodable(error) from error
    return image


def loaded(image: Any, *, mode: str | None = None) -> Any:
    """The image with its samples, converted to a Pillow mode.

    Raises:
        UndecodableError: They do not decode.
    """
    try:
        return _converted(image, mode)
    except Exception as error:
        raise _undecodable(error) from error


def decoding_threads() -> int:
    """How many images this process decodes at a time where nothing else is done beside it.

    In a Ray worker the CPUs that it was given, which Ray says so; else all that there are.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    # macOS binds no process to CPUs.
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(int(given), here or 1) if given.isdigit() and int(given) else here or 1


def _faults(
    files: Sequence[Any], column: Column, keep: Callable[[int, Samples], None], threads: int
) -> dict[int, str]:
    def decode(row: int) -> str | None:
        try:
            if files[row] is None:
                raise UndecodableError("is null")
            keep(row, decoded_image(files[row], column))
        except UndecodableError as error:
            return str(error)
        return None

    if threads == 1 or len(files) < 2:
        found = [decode(row) for row in range(len(files))]
    else:
        with ThreadPoolExecutor(min(threads, len(files))) as pool:
            found = list(pool.map(decode, range(len(files))))
    return {row: fault for row, fault in enumerate(found) if fault is not None}


def _samples(image: Any, size: tuple[int, int], mode: str) -> Samples:
    from PIL import Image

    turn = _turn(image)
    # Turned on its side, an image is resized on its side: fewer samples are to be turned.
    shape = size[::-1] if turn in _on_side() else size
    drafted = image.draft(mode, tuple(DECODED_PER_PIXEL * length for length in shape))
    image = _converted(image, mode)
    # A JPEG of odd size that is decoded at half of it has half a row of nothing at its end.
    box = drafted[1] if drafted else (0, 0, *image.size)
    if box != (0, 0, *shape):
        image = image.resize(shape, Image.Resampling.BILINEAR, box=box)
    if turn is not None:
        image = image.transpose(turn)
    return np.asarray(image, dtype=np.uint8).reshape(size[1], size[0], -1)


def _turn(image: Any) -> Any:
    """How to turn an image upright, None if it stands."""
    from PIL.Image import Transpose

    if "exif" not in image.info:
        return None
    turns = (
        None, None, Transpose.FLIP_LEFT_RIGHT, Transpose.ROTATE_180, Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90,
    )  # fmt: skip
    orientation = image.getexif().get(ORIENTATION)
    return turns[orientation] if orientation in range(len(turns)) else None


def _on_side() -> tuple[Any, ...]:
    from PIL.Image import Transpose

    return Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90


def _converted(image: Any, mode: str | None) -> Any:
    image.load()
    if image.mode in DEEP_MODES:
        raise ValueError(f"mode {image.mode} has more than 8 bits per sample")
    return image.convert(mode) if mode and mode != image.mode else image


def _check_size(num_pixels: int) -> None:
    if num_pixels > MAX_PIXELS:
        raise ValueError(f"it claims {num_pixels} pixels, at most {MAX_PIXELS} are taken")


def _undecodable(error: Exception) -> UndecodableError:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its message names an address in memory
        return UndecodableError("does not decode (it is no image that Pillow knows)")
    return UndecodableError(f"does not decode ({type(error).__name__}: {error})")
