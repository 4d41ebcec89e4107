"""Per-column statistics of the train split, merged piece by piece."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from shardline.data.manifest import ColumnStatistics
from shardline.data.reading import column_to_numpy
from shardline.data.schema import Column

# A manifest is read by everyone; a free-text column must not make it huge.
MAX_VOCABULARY = 100_000


@dataclass
class Moments:
    """Count, mean, spread and range of numbers, merged by the parallel variance formula."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""
    min: float = np.inf
    max: float = -np.inf

    def add(self, values: "np.ndarray[Any, Any]") -> None:
        """Merge numbers of any shape."""
        if not values.size:
            return
        numbers = values.astype(np.float64)
        mean = float(numbers.mean())
        squares = float(np.square(numbers - mean).sum())
        total = self.count + numbers.size
        distance = mean - self.mean
        self.squares += squares + distance**2 * self.count * numbers.size / total
        self.mean += distance * numbers.size / total
        self.count = total
        self.min = min(self.min, float(numbers.min()))
        self.max = max(self.max, float(numbers.max()))


@dataclass
class ColumnTally:
    """One feature's statistics so far."""

    column: Column
    _moments: Moments = field(default_factory=Moments)
    _texts: Counter[str] = field(default_factory=Counter)

    def add(self, array: pa.ChunkedArray | pa.Array) -> None:
        """Count the values of some rows; prepared rows hold no nulls."""
        values = column_to_numpy(array, self.column)
        if self.column.dtype == "string":
            self._texts.update(values.ravel().tolist())
        else:
            self._moments.add(values)

    def result(self) -> ColumnStatistics:
        """The statistics of everything added."""
        if self.column.dtype == "string":
            ranked = sorted(self._texts.items(), key=lambda item: (-item[1], item[0]))
            names = tuple(text for text, _ in ranked[:MAX_VOCABULARY])
            return ColumnStatistics(count=self._texts.total(), nulls=0, vocabulary=names)
        moments = self._moments
        if not moments.count:
            return ColumnStatistics(count=0, nulls=0)
        return ColumnStatistics(
            count=moments.count,
            nulls=0,
            mean=moments.mean,
            variance=moments.squares / moments.count,
            min=moments.min,
            max=moments.max,
        )
