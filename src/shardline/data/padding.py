"""Lists of any length as rows of one length: filled up at their end, cut there or refused.

The rule stands in `dataset.json` beside the column and goes into the model with it, so that lists
are laid out alike when a dataset is prepared, when files are scored and when requests are answered.
"""

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from shardline.spec.data import Longer

Array = np.ndarray[Any, Any]


class Padding(BaseModel):
    """What becomes of lists that are not as long as the column's shape."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    value: int | float
    """What stands where a list has ended."""
    longer: Longer
    """What becomes of a list that is too long."""


def kept_elements(lengths: Array, size: int) -> Array:
    """Which elements of lists, one list after another, are among the first `size` of theirs."""
    starts = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    kept: Array = places < size
    return kept


def laid_out(elements: Array, lengths: Array, *, size: int, value: float) -> Array:
    """Lists as rows of one length.

    Args:
        elements: Of one list after another.
        lengths: Of every list, none above `size`.
        size: Elements of a row.
        value: What fills the rest of a row.

    Returns:
        Array of shape (lists, size) of the elements' dtype.
    """
    rows = np.full((len(lengths), size), value, elements.dtype)
    rows[np.arange(size) < lengths[:, None]] = elements
    return rows
