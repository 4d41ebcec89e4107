"""One 64-bit hash per row, from its values alone: the same on every machine and in every release.

Values are hashed by what they mean, not by how wide they are held: 5 as int8, int64 and float64
hash alike, so types that are found anew when a source grows move no row. Columns are combined in
the order of their names. Rows that differ collide as by chance, 2**-64 a pair.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UInt64s = np.ndarray[Any, np.dtype[np.uint64]]

# Rows are hashed so many at a time that the columns in work stay in the processor's cache.
PIECE_ROWS = 16_384
# Longer values are hashed one by one: word by word they would cost a pass each.
MAX_WORDS = 32
WORD_BYTES = 8
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_FINISHER = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(32)
_NULL = np.uint64(0xA0761D6478BD642F)


def content_hashes(table: pa.Table, *, purpose: bytes) -> UInt64s:
    """A hash of every row.

    Args:
        table: Its columns' names and values count, their order does not.
        purpose: Hashes for different purposes say nothing about each other.

    Returns:
        uint64 [rows].
    """
    hashes = np.full(table.num_rows, _seed(purpose), np.uint64)
    columns = [(_seed(name.encode()), table[name]) for name in sorted(table.column_names)]
    for start in range(0, table.num_rows, PIECE_ROWS):
        piece = hashes[start : start + PIECE_ROWS]
        for seed, values in columns:
            piece ^= seed
            _absorb(piece, _words(_one_array(values.slice(start, PIECE_ROWS))))
        _finish(piece)
    return hashes


def _absorb(hashes: UInt64s, words: UInt64s) -> None:
    """Mix a word into every hash; for a given hash no two words give the same.

    Multiplied once, words that differ in their high bytes alone leave the low half as it was, and
    the next word can cancel the difference: texts of digits did, as did tensors of ones.
    """
    hashes ^= words
    _mix(hashes, _MULTIPLIER)
    _mix(hashes, _FINISHER)


def _finish(hashes: UInt64s) -> None:
    _mix(hashes, _FINISHER)
    _mix(hashes, _MULTIPLIER)


def _mix(hashes: UInt64s, multiplier: np.uint64) -> None:
    hashes *= multiplier
    hashes ^= hashes >> _SHIFT


def _seed(text: bytes) -> np.uint64:
    return np.uint64(_digest(text))


def _digest(value: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=WORD_BYTES).digest(), "little")


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _words(values: pa.Array) -> UInt64s:
    """A word for every value; nulls have one of their own."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    words = _hasher(values.type)(values)
    if values.null_count:
        words = np.where(values.is_null().to_numpy(zero_copy_only=False), _NULL, words)
    return words


def _hasher(arrow_type: Any) -> Callable[[pa.Array], UInt64s]:
    if isinstance(arrow_type, pa.FixedShapeTensorType):
        return _tensor_words
    if pa.types.is_floating(arrow_type) or pa.types.is_decimal(arrow_type):
        return _float_words
    if pa.types.is_boolean(arrow_type) or pa.types.is_integer(arrow_type):
        return _integer_words
    if pa.types.is_temporal(arrow_type):
        return _time_words
    if pa.types.is_string(arrow_type) or pa.types.is_binary(arrow_type):
        return _text_words
    if pa.types.is_large_string(arrow_type) or pa.types.is_large_binary(arrow_type):
        return _text_words
    return _other_words


def _integer_words(values: pa.Array) -> UInt64s:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    filled = _without_nulls(values)
    kind = np.uint64 if filled.dtype == np.uint64 else np.int64
    words: UInt64s = filled.astype(kind, copy=False).view(np.uint64)
    return words


def _float_words(values: pa.Array) -> UInt64s:
    wide = values if values.type == pa.float64() else values.cast(pa.float64())
    numbers = _without_nulls(wide) + 0.0  # -0.0 becomes 0.0
    with np.errstate(invalid="ignore"):
        whole = numbers.astype(np.int64)
    is_whole = whole == numbers
    words: UInt64s = numbers.view(np.uint64)
    if not is_whole.any():
        return words
    is_whole &= np.abs(numbers) < 2.0**63
    return np.where(is_whole, whole.view(np.uint64), words)


def _without_nulls(values: pa.Array) -> np.ndarray[Any, np.dtype[Any]]:
    """The values, zeros in place of nulls; a view of them if there are none."""
    filled = pc.fill_null(values, 0) if values.null_count else values
    found: np.ndarray[Any, np.dtype[Any]] = filled.to_numpy(zero_copy_only=False)
    return found


def _time_words(values: pa.Array) -> UInt64s:
    wide = pa.int32() if values.type.bit_width == 32 else pa.int64()
    return _integer_words(values.view(wide))


def _text_words(values: pa.Array) -> UInt64s:
    """Eight bytes at a time, over all texts that have as many."""
    values = values.cast(pa.large_binary())
    lengths = pc.fill_null(pc.binary_length(values), 0).to_numpy(zero_copy_only=False)
    _, offset_buffer, data = values.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[values.offset :][: len(values)]
    begin = int(offsets[0]) if len(offsets) else 0
    end = int(offsets[-1] + lengths[-1]) if len(offsets) else 0
    padded = np.zeros(end - begin + WORD_BYTES, np.uint8)
    if data is not None:
        padded[: end - begin] = np.frombuffer(data, np.uint8)[begin:end]
    at_every_byte = np.ndarray((len(padded) - WORD_BYTES + 1,), "<u8", padded.data, 0, (1,))
    hashes = np.full(len(lengths), _NULL, np.uint64)
    _absorb(hashes, lengths.astype(np.uint64))
    short = np.flatnonzero(lengths <= MAX_WORDS * WORD_BYTES)
    for word in range(MAX_WORDS):
        short = short[lengths[short] > word * WORD_BYTES]
        if not len(short):
            break
        left = np.minimum(lengths[short] - word * WORD_BYTES, WORD_BYTES).astype(np.uint64)
        words = at_every_byte[offsets[short] - begin + word * WORD_BYTES]
        # The last word of a text reaches into the next one.
        words &= np.uint64(2**64 - 1) >> (np.uint64(64) - left * np.uint64(8))
        mixed = hashes[short]
        _absorb(mixed, words)
        hashes[short] = mixed
    for place in np.flatnonzero(lengths > MAX_WORDS * WORD_BYTES):
        start = int(offsets[place]) - begin
        hashes[place] = _digest(padded[start : start + int(lengths[place])].tobytes())
    return hashes


def _tensor_words(values: pa.Array) -> UInt64s:
    elements = values.storage.flatten()
    plain = pa.types.is_integer(elements.type) or pa.types.is_floating(elements.type)
    if not plain or values.null_count or elements.null_count:
        return _other_words(values.storage)
    size = int(np.prod(values.type.shape))
    rows = elements.to_numpy(zero_copy_only=False).reshape(len(values), size)
    rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
    width = rows.dtype.itemsize * size
    if width > MAX_WORDS * WORD_BYTES * WORD_BYTES:
        return np.fromiter((_digest(row.tobytes()) for row in rows), np.uint64, len(rows))
    padded = np.zeros((len(rows), -(-width // WORD_BYTES) * WORD_BYTES), np.uint8)
    padded[:, :width] = rows.view(np.uint8).reshape(len(rows), width)
    hashes = np.full(len(rows), size, np.uint64)
    for words in padded.view("<u8").T:
        _absorb(hashes, words)
    return hashes


def _other_words(values: pa.Array) -> UInt64s:
    """Lists and whatever else there is, by how Python writes the value."""
    texts = (repr(value).encode() for value in values.to_pylist())
    return np.fromiter(map(_digest, texts), np.uint64, len(values))
