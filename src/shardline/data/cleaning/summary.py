"""What the rules ask of a column's values in the train split."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Statistics of the finite values of one column."""

    count: int
    mean: float
    """Zero if there are no values."""
    deviation: float
    """Infinite if there are none, or if it is beyond float64."""
    mode: float | str | None
    """The most frequent value, of several the smallest; None if none occurs often."""
    ascending: "np.ndarray[Any, np.dtype[np.float64]]"
    """The numbers, or of very many a random sample, sorted."""

    def quantile(self, share: float) -> float:
        """Linear between neighbours, as numpy's; there must be values."""
        return float(np.quantile(self.ascending, share))
