"""Values of Parquet column chunks as they lie in their pages: numbers in one piece, files as views.

Arrow assembles tensors element by element from the levels of lists, at several ns a byte of an
image, and copies files twice. All rows of a shard have tensors of one shape and no nulls, so their
levels say nothing that is not known, and a page's values are an array. What is no such chunk is
Arrow's to read.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.page_headers import PageError, PageHeader, read_page_header

PLAIN, BYTE_STREAM_SPLIT = 0, 9
# Parquet's integers have 32 or 64 bits.
LEAST_INTEGER_BYTES = 4
# Of the length in front of each value of bytes.
LENGTH_BYTES = 4

Array = np.ndarray[Any, np.dtype[Any]]


def read_values(chunk: memoryview, codec: "pa.Codec | None", out: Array) -> None:
    """Copy the values of a column chunk that has no nulls.

    Args:
        chunk: Its bytes.
        codec: What its pages are compressed by.
        out: Array of shape (values,) and of the column's dtype, in any strides.

    Raises:
        PageError: It is damaged, has other than `len(out)` values, nulls, or pages of another kind.
    """
    stored = _stored_bytes(out.dtype)
    done = 0
    for header, page in _pages(chunk, len(out)):
        num_bytes = header.raw_bytes - header.level_bytes
        if num_bytes != header.num_values * stored:
            raise PageError(f"{num_bytes} bytes for {header.num_values} values")
        stop = done + header.num_values
        out[done:stop] = _values(_uncompressed(page, header, codec), header, out.dtype)
        done = stop


def read_files(chunk: memoryview, codec: "pa.Codec | None", num_values: int) -> list[memoryview]:
    """The values of a column chunk of bytes that has no nulls, as views of it where it allows.

    Args:
        chunk: Its bytes.
        codec: What its pages are compressed by.
        num_values: How many it has.

    Raises:
        PageError: It is damaged, has another number of values, nulls, or pages of another kind.
    """
    found: list[memoryview] = []
    for header, page in _pages(chunk, num_values):
        if header.encoding != PLAIN:
            raise PageError(f"files of encoding {header.encoding}")
        found += _files(_uncompressed(page, header, codec).data, header.num_values)
    return found


def _pages(chunk: memoryview, num_values: int) -> Iterator[tuple[PageHeader, memoryview]]:
    """The pages of a chunk, each of which is what was written.

    Raises:
        PageError: One is not, has nulls, or together they hold other than `num_values` values.
    """
    done = at = 0
    while done < num_values:
        header, start = read_page_header(chunk, at)
        at = start + header.stored_bytes
        page = chunk[start:at]
        done += header.num_values
        if header.num_nulls or header.num_values <= 0 or done > num_values:
            raise PageError(f"{header.num_values} values, {header.num_nulls} of them null")
        if len(page) != header.stored_bytes or zlib.crc32(page) != header.checksum:
            raise PageError("a page whose checksum is another")
        yield header, page
    if at != len(chunk):
        raise PageError(f"{len(chunk) - at} bytes behind the last page")


def _files(values: memoryview, num_values: int) -> Iterator[memoryview]:
    at = 0
    for _ in range(num_values):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(values[at:start], "little")
        yield values[start:at]
    if at != len(values):
        raise PageError(f"files that end at byte {at} of {len(values)}")


def _uncompressed(page: memoryview, header: PageHeader, codec: "pa.Codec | None") -> Array:
    values: Any = page[header.level_bytes :]
    if codec is not None and header.is_compressed:
        values = codec.decompress(values, header.raw_bytes - header.level_bytes)
    found = np.frombuffer(values, np.uint8)
    if len(found) != header.raw_bytes - header.level_bytes:
        raise PageError(f"{len(found)} bytes of values in a page of {header.raw_bytes}")
    return found


def _values(data: Array, header: PageHeader, dtype: "np.dtype[Any]") -> Array:
    if header.encoding == BYTE_STREAM_SPLIT:
        # All lowest bytes come first: 8-bit integers are the first quarter of the page.
        streams = data.reshape(_stored_bytes(dtype), -1)[: dtype.itemsize]
        return np.ascontiguousarray(streams.T).view(dtype)[:, 0]
    if header.encoding == PLAIN and dtype.itemsize == _stored_bytes(dtype):
        return data.view(dtype)
    raise PageError(f"values of encoding {header.encoding}")


def _stored_bytes(dtype: "np.dtype[Any]") -> int:
    """Of one value in a page."""
    return max(dtype.itemsize, LEAST_INTEGER_BYTES if dtype.kind in "iu" else 1)
