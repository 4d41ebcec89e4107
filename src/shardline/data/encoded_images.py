"""Columns of image files on their way to shards or to a model: each decodes, or says why not."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.casting import CastColumn, cast_column, tensor_array
from shardline.data.decoding import (
    decoded_images,
    decoding_threads,
    files_of,
    undecodable_images,
)
from shardline.data.schema import Column
from shardline.errors import DataError

# What Hugging Face's data sets hold of an image: its bytes beside its path.
BYTES_FIELD = "bytes"


def is_image(arrow_type: Any) -> bool:
    """Whether values are the bytes of encoded images."""
    return bool(pa.types.is_binary(arrow_type) or pa.types.is_large_binary(arrow_type))


def cast_images(
    raw: pa.ChunkedArray | pa.Array, column: Column, *, role: str, decodes: bool
) -> CastColumn:
    """Check a column of image files, each of which is decoded once.

    Args:
        raw: Binary, or structures with the field `bytes`; where `decodes`, samples will do.
        column: What they become.
        role: What the column is, for the sentences.
        decodes: Whether to return samples, as a batch has them, in place of the bytes.

    Raises:
        DataError: The values are neither.
    """
    values = raw.combine_chunks() if isinstance(raw, pa.ChunkedArray) else raw
    title = f"{role} {column.name!r}"
    if pa.types.is_struct(values.type) and values.type.get_field_index(BYTES_FIELD) >= 0:
        values = pc.struct_field(values, BYTES_FIELD)
    if pa.types.is_null(values.type):
        values = values.cast(column.stored_type)
    if not is_image(values.type):
        if decodes:
            return cast_column(values, column, role=role)
        raise DataError(
            f"{title} holds {values.type}, which cannot become encoded images; give it the bytes "
            "of image files as binary, or leave encoded out."
        )
    if not decodes:
        faults = undecodable_images(files_of(values), column, threads=decoding_threads())
        return CastColumn(_without(values, faults, column), _titled(faults, title))
    found = decoded_images(files_of(values), column, threads=decoding_threads())
    tensors = tensor_array(pa.array(found.samples.ravel()), column)
    return CastColumn(tensors, _titled(found.faults, title))


def _without(values: pa.Array, faults: dict[int, str], column: Column) -> pa.Array:
    cast = values.cast(column.stored_type)
    if not faults:
        return cast
    sound = pa.array([row not in faults for row in range(len(values))])
    return pc.if_else(sound, cast, pa.scalar(None, cast.type))


def _titled(faults: dict[int, str], title: str) -> dict[int, str]:
    return {row: f"{title} {fault}" for row, fault in faults.items()}
