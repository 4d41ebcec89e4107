"""Other names for the values of a column, most often the label's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardline.data.elements import is_text
from shardline.data.partial_cast import cast_where_possible


@dataclass(frozen=True)
class Mapped:
    """A column under its new names."""

    values: pa.Array
    """Text if any new name is text or texts are kept, otherwise numbers; null where unmapped."""
    unmapped: "np.ndarray[Any, np.dtype[np.bool_]]"
    """Which rows to set aside: they have a value that the mapping does not name."""
    num_mapped: int
    """Rows that got a new name."""


def mapped(
    values: pa.Array,
    names: Mapping[str, str | int | float],
    *,
    others: Literal["quarantine", "keep"],
) -> Mapped:
    """Give values their new names.

    Args:
        values: Texts, numbers or booleans; the mapping names them as text (`1`, `true`).
        names: Old name to new name.
        others: Whether values without a new name stay as they are or become null.

    Raises:
        pa.ArrowNotImplementedError: No text can be made of the values.
    """
    texts = values if is_text(values.type) else cast_where_possible(values, pa.string())
    targets = list(names.values())
    numeric = not any(isinstance(target, str) for target in targets)
    place = pc.index_in(texts, value_set=pa.array(list(names), texts.type))
    missed = pc.and_(pc.is_null(place), pc.is_valid(values))
    unmapped = missed.to_numpy(zero_copy_only=False)
    num_mapped = len(place) - place.null_count
    if others == "quarantine":
        new = pa.array(targets if numeric else [str(target) for target in targets])
        return Mapped(new.take(place), unmapped, num_mapped)
    new = pa.array([str(target) for target in targets], texts.type).take(place)
    kept = pc.if_else(missed, texts, new)
    if numeric and not is_text(values.type) and not pa.types.is_boolean(values.type):
        kept = kept.cast(pa.float64())
        kept = kept.cast(values.type) if _fits(kept, values.type) else kept
    return Mapped(kept, np.zeros(len(values), dtype=bool), num_mapped)


def _fits(values: pa.Array, target: Any) -> bool:
    try:
        values.cast(target)
    except pa.ArrowInvalid:
        return False
    return True
