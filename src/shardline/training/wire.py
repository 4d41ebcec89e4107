"""Numbers that travel in 16 bits while every sum is made in 32."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

WireType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Narrowing:
    """How float32 becomes 16 bits and float32 again.

    Attributes:
        narrow: (float32 array, uint16 array of the same length to fill).
        widen: (uint16 array, float32 array to fill).
    """

    narrow: Callable[[Any, Any], None]
    widen: Callable[[Any, Any], None]


def narrowing(wire: WireType) -> Narrowing | None:
    """The conversion of a wire type; None when numbers travel as they are."""
    if wire == "bfloat16":
        return Narrowing(_to_bfloat16, _from_bfloat16)
    if wire == "float16":
        return Narrowing(_to_float16, _from_float16)
    return None


def _to_bfloat16(values: Any, narrow: Any) -> None:
    from ml_dtypes import bfloat16

    narrow.view(bfloat16)[...] = values


def _from_bfloat16(narrow: Any, values: Any) -> None:
    np.left_shift(narrow, 16, out=values.view(np.uint32), dtype=np.uint32)


def _to_float16(values: Any, narrow: Any) -> None:
    narrow.view(np.float16)[...] = values


def _from_float16(narrow: Any, values: Any) -> None:
    values[...] = narrow.view(np.float16)
