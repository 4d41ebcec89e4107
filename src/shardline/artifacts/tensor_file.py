"""Tensors as the bytes of a safetensors file, laid out in memory that is used again.

The safetensors library makes a new `bytes` object of a file for every call, which for a model of
300 MB costs as much as the copy that training waits for, and its numpy reader knows no bfloat16.
The layout is the public one (length of the header, JSON header, raw data); tests hold it against
the library.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from shardline.errors import IntegrityError, ModelError

DTYPE_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
}
# Room for names, shapes and offsets of some thousand tensors.
RESERVED_HEADER_BYTES = 1 << 20
# Non-finite values are looked for in pieces that stay in the processor's cache.
CHECKED_AT_ONCE = 1 << 16


class TensorFile:
    """The bytes of one safetensors file. `fill` copies once, into memory of the last call."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._length = 0
        self._views: dict[str, np.ndarray[Any, Any]] = {}

    @property
    def data(self) -> memoryview:
        """The file; the next `fill` overwrites it."""
        return self._memory[: self._length].data

    def reserve(self, num_bytes: int) -> None:
        """Fetch memory for tensors of so many bytes, so that no `fill` has to.

        Pages that a virtual machine has not used before come from its host: 300 MB took 0.6 s to
        touch for the first time and 0.04 s from then on.
        """
        if self._memory.size < num_bytes + RESERVED_HEADER_BYTES:
            self._memory = np.empty(num_bytes + RESERVED_HEADER_BYTES, np.uint8)
            self._memory.fill(0)

    def fill(self, tensors: Mapping[str, Any]) -> None:
        """Make the file hold these tensors.

        Raises:
            ModelError: A tensor's dtype has no place in a safetensors file.
        """
        # Wide dtypes first: every tensor then begins at a multiple of its item size.
        names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
        header = _header({name: tensors[name] for name in names})
        self._length = len(header) + sum(tensors[name].nbytes for name in names)
        if self._memory.size < self._length:
            self._memory = np.empty(self._length, np.uint8)
        self._memory[: len(header)] = np.frombuffer(header, np.uint8)
        start, self._views = len(header), {}
        for name in names:
            tensor = tensors[name]
            place = self._memory[start : start + tensor.nbytes]
            view = place.view(tensor.dtype).reshape(tensor.shape)
            np.copyto(view, tensor)
            self._views[name] = view
            start += tensor.nbytes

    def first_non_finite(self, *, prefixes: tuple[str, ...]) -> str | None:
        """The first tensor under one of the prefixes that holds an infinity or no number."""
        wanted = sorted(name for name in self._views if name.startswith(prefixes))
        return next((name for name in wanted if not _is_finite(self._views[name])), None)


def read_tensor_file(data: bytes) -> dict[str, Any]:
    """The arrays of a safetensors file.

    Raises:
        IntegrityError: Its header describes other bytes than there are, or dtypes that no
            checkpoint has.
    """
    from safetensors import SafetensorError, deserialize

    names = {short: name for name, short in DTYPE_NAMES.items()}
    try:
        # The library holds offsets against shapes and against the length before it copies.
        return {
            name: np.frombuffer(found["data"], _dtype(names[found["dtype"]])).reshape(
                found["shape"]
            )
            for name, found in deserialize(data)
        }
    except (SafetensorError, KeyError) as error:
        raise IntegrityError(
            f"a tensor file is damaged ({error}); continue from another checkpoint."
        ) from error


def item_size(dtype: str) -> int:
    """Bytes of one number."""
    return int(_dtype(dtype).itemsize)


def _header(tensors: Mapping[str, Any]) -> bytes:
    described, start = {}, 0
    for name, tensor in tensors.items():
        described[name] = {
            "dtype": _dtype_name(name, tensor),
            "shape": list(tensor.shape),
            "data_offsets": [start, start + tensor.nbytes],
        }
        start += tensor.nbytes
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _dtype_name(name: str, tensor: Any) -> str:
    try:
        return DTYPE_NAMES[tensor.dtype.name]
    except KeyError:
        raise ModelError(
            f"variable {name!r} is of dtype {tensor.dtype.name}, which no checkpoint can hold; "
            f"use one of {', '.join(DTYPE_NAMES)}."
        ) from None


def _dtype(name: str) -> Any:
    if name == "bfloat16" or name.startswith("float8"):
        import ml_dtypes  # numpy has none of these of its own

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)


def _is_finite(array: "np.ndarray[Any, Any]") -> bool:
    if array.dtype.kind in "iub":
        return True
    return all(bool(np.isfinite(piece).all()) for piece in _pieces(array))


def _pieces(array: "np.ndarray[Any, Any]") -> "Iterator[np.ndarray[Any, Any]]":
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHECKED_AT_ONCE):
        yield flat[start : start + CHECKED_AT_ONCE]
