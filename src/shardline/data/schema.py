"""Columns: what a row consists of, in shards, in the model and in requests alike."""

from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from shardline.data.padding import Padding
from shardline.data.timestamps import MOMENT
from shardline.data.treatment import Treatment
from shardline.spec.data import DType, TensorDType


class Column(BaseModel):
    """A named, typed value of every row."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    dtype: DType
    shape: tuple[int, ...] = ()
    """Shape of one row's value; empty for a scalar."""
    padding: Padding | None = None
    """How lists of other lengths take the shape; None if they are refused."""
    encoded: bool = False
    """Whether shards hold image files, which become samples of `shape` when they are read."""
    treatment: Treatment | None = None
    """How raw values become these; None if they are taken as they are."""
    indicates: str | None = None
    """The column of which this one says whether a value was missing; no source has it."""

    @property
    def numpy_dtype(self) -> "np.dtype[Any]":
        """How numpy holds it; strings are objects."""
        return np.dtype(object) if self.dtype == "string" else np.dtype(self.tensor_dtype)

    @property
    def tensor_dtype(self) -> TensorDType:
        """How tensors hold it: timestamps are int64 microseconds since 1970, in UTC."""
        return "int64" if self.dtype == "timestamp" else self.dtype

    @property
    def num_bytes(self) -> int:
        """Size of one row's value, of a string that of a reference."""
        return self.numpy_dtype.itemsize * prod(self.shape)

    @property
    def arrow_type(self) -> Any:
        """How it is read from a shard: a primitive, or Arrow's canonical fixed-shape tensor."""
        if not self.shape:
            return scalar_arrow_type(self.dtype)
        return pa.fixed_shape_tensor(scalar_arrow_type(self.dtype), self.shape)

    @property
    def stored_type(self) -> Any:
        """How a shard holds it: as it is read, or the bytes of an encoded image."""
        return pa.large_binary() if self.encoded else self.arrow_type


class Label(Column):
    """The column to learn."""

    vocabulary: tuple[str, ...] | None = None
    """Class names; the label is an index into them. None when the source already has numbers."""


class Schema(BaseModel):
    """All columns of a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    features: tuple[Column, ...]
    label: Label
    carried: tuple[str, ...] = ()
    """Columns kept for joining, as text; the model never sees them."""

    @property
    def image_bytes(self) -> int:
        """Size of a row's encoded images once they are decoded, as windows and caches hold them."""
        return sum(column.num_bytes for column in self.features if column.encoded)

    def feature(self, name: str) -> Column:
        """The feature called `name`; KeyError if there is none."""
        return {column.name: column for column in self.features}[name]


def scalar_arrow_type(dtype: DType) -> Any:
    """The Arrow type of one element."""
    if dtype == "timestamp":
        return MOMENT
    return pa.bool_() if dtype == "bool" else getattr(pa, dtype)()
