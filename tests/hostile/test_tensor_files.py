"""Safetensors files whose header lies about the bytes behind it."""

import json

import pytest
from tests.hostile.canary import bounded_memory

from shardline.artifacts.tensor_file import read_tensor_file
from shardline.errors import IntegrityError

HUGE = 1 << 40


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def file_of(header, data=bytes(8), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


HOSTILE = {
    "empty": b"",
    "header longer than the file": file_of({"a": tensor()}, length=HUGE),
    "header of the largest length": file_of({"a": tensor()}, length=(1 << 64) - 1),
    "no JSON": file_of(b"{"),
    "deep JSON": file_of(b"[" * 100_000),
    "shape without bytes": file_of({"a": tensor(shape=(HUGE,))}),
    "offsets without bytes": file_of({"a": tensor(shape=(HUGE,), offsets=(0, 4 * HUGE))}),
    "product that overflows": file_of({"a": tensor(shape=(HUGE, HUGE, HUGE))}),
    "negative dimension": file_of({"a": tensor(shape=(-2,))}),
    "overlap": file_of({"a": tensor(), "b": tensor(shape=(1,), offsets=(4, 8))}),
    "hole": file_of({"a": tensor(shape=(1,), offsets=(0, 4)), "b": tensor("U8", (1,), (7, 8))}),
    "offsets backwards": file_of({"a": tensor(offsets=(8, 0))}),
    "bytes that nothing describes": file_of({"a": tensor()}, data=bytes(16)),
    "fewer bytes": file_of({"a": tensor()}, data=bytes(4)),
    "unknown dtype": file_of({"a": tensor("PICKLE")}),
    "dtype that no checkpoint has": file_of({"a": tensor("F8_E8M0", (8,))}),
    "pickle": b"\x80\x04\x95" + bytes(40),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_tensor_file_that_lies_is_refused(name):
    with (
        bounded_memory(16 << 20),
        pytest.raises(IntegrityError, match=r"a tensor file is damaged \(.*\); continue from"),
    ):
        read_tensor_file(HOSTILE[name])


def test_tensor_file_that_does_not_lie_is_read():
    assert read_tensor_file(file_of({"a": tensor()}))["a"].tolist() == [0, 0]
