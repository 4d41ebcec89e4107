"""What an Arrow column holds, for statistics: numbers, texts, tensors, lists or images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.row_hash import content_hashes

Kind = Literal["number", "time", "text", "tensor", "list", "image"]
Numbers = np.ndarray[Any, Any]

PURPOSE = b"shardline-statistics"
UNITS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def kind_of(arrow_type: Any) -> Kind:
    """The kind of a column.

    Raises:
        TypeError: No statistics are known of this type.
    """
    if pa.types.is_dictionary(arrow_type):
        return kind_of(arrow_type.value_type)
    for kind, holds in KINDS.items():
        if any(test(arrow_type) for test in holds):
            return kind
    raise TypeError(f"no statistics of a column of {arrow_type}; leave it out of the sketch.")


def is_tensor(arrow_type: Any) -> bool:
    """Whether every row holds equally many elements."""
    return isinstance(arrow_type, pa.FixedShapeTensorType) or pa.types.is_fixed_size_list(
        arrow_type
    )


def is_nested(arrow_type: Any) -> bool:
    """Whether every row holds elements."""
    lists = pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type)
    return bool(lists or is_tensor(arrow_type))


def _is_text(arrow_type: Any) -> bool:
    if is_nested(arrow_type):
        arrow_type = arrow_type.value_type
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def _is_number(arrow_type: Any) -> bool:
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(arrow_type) for test in tests)


def _is_list(arrow_type: Any) -> bool:
    return is_nested(arrow_type) and _is_number(arrow_type.value_type)


KINDS: dict[Kind, tuple[Callable[[Any], bool], ...]] = {
    "number": (_is_number,),
    "time": (pa.types.is_timestamp, pa.types.is_date, pa.types.is_duration, pa.types.is_time),
    "text": (_is_text,),
    "tensor": (is_tensor,),
    "list": (_is_list,),
    "image": (pa.types.is_binary, pa.types.is_large_binary),
}


@dataclass(frozen=True)
class Filled:
    """The values of some rows without the nulls."""

    values: Any
    """Arrow array."""
    mask: "np.ndarray[Any, np.dtype[np.bool_]] | None"
    """Which rows have a value; None for all."""
    num_nulls: int


def filled(array: Any) -> Filled:
    """Separate values from nulls; dictionaries keep being dictionaries."""
    if isinstance(array, pa.ChunkedArray):
        # A single chunk is taken as it is: joining would copy it.
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if not array.null_count:
        return Filled(array, None, 0)
    mask = array.is_valid().to_numpy(zero_copy_only=False)
    return Filled(array.drop_null(), mask, array.null_count)


def numbers_of(array: Any) -> Numbers:
    """A null-free column of numbers or times: integers, booleans as 0 and 1, floats; seconds."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return numbers_of(array.dictionary_decode())
    if kind_of(kind) == "time":
        return _seconds(array)
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        array = array.cast(pa.int64() if pa.types.is_boolean(kind) else pa.float64())
    values: Numbers = array.to_numpy(zero_copy_only=False)
    return values


def flat(array: Any) -> Any:
    """All elements of null-free tensors or lists; of anything else the values themselves."""
    if isinstance(array.type, pa.FixedShapeTensorType):
        array = array.storage
    return array.flatten() if hasattr(array, "flatten") else array


def value_lengths(array: Any) -> Numbers:
    """Elements of every null-free tensor or list."""
    if isinstance(array.type, pa.FixedShapeTensorType):
        array = array.storage
    lengths: Numbers = array.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def canonical_bits(numbers: Numbers) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """64 bits per number, equal for equal numbers of one column."""
    if numbers.dtype.kind == "f":
        wide = numbers.astype(np.float64, copy=False) + 0.0  # -0.0 becomes 0.0
        return wide.view(np.uint64)
    if numbers.dtype.kind == "u":
        return numbers.astype(np.uint64, copy=False)
    return numbers.astype(np.int64, copy=False).view(np.uint64)


def encoded(texts: Any) -> Any:
    """A null-free column of texts as a dictionary array."""
    return texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()


def text_hashes(texts: Any) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """64 bits for every text of a null-free array."""
    return content_hashes(pa.table({"": texts}), purpose=PURPOSE)


def text_lengths(texts: Any) -> Numbers:
    """Characters of every text of a null-free array."""
    numbers: Numbers = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
    return numbers


def _seconds(array: Any) -> Numbers:
    kind = array.type
    if pa.types.is_date(kind):
        array, unit = array.cast(pa.timestamp("ms")), "ms"
    else:
        unit = kind.unit
    width = pa.int32() if pa.types.is_time32(kind) else pa.int64()
    numbers = array.cast(width).to_numpy(zero_copy_only=False)
    seconds: Numbers = numbers / UNITS_PER_S[unit]
    return seconds
