"""Count, mean, spread and range of numbers, piece by piece."""

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any, Self

import numpy as np

# Float64 copies stay in the processor's cache, and small beside a table of bytes.
PIECE = 65_536


@dataclass
class Moments:
    """Count, mean, spread and range of numbers, merged by the parallel variance formula."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""
    min: float = np.inf
    max: float = -np.inf

    @property
    def variance(self) -> float | None:
        """Mean squared distance from the mean; None of nothing and beyond what float64 holds."""
        return self.squares / self.count if self.count and isfinite(self.squares) else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the numbers as a population, None where the variance is."""
        return None if self.variance is None else sqrt(self.variance)

    def add(self, values: "np.ndarray[Any, Any]") -> None:
        """Merge finite numbers of any shape."""
        flat = values.reshape(-1)
        for start in range(0, flat.size, PIECE):
            self._add_piece(flat[start : start + PIECE].astype(np.float64, copy=False))

    def add_counted(self, values: "np.ndarray[Any, Any]", counts: "np.ndarray[Any, Any]") -> None:
        """Merge finite numbers of which each occurs a number of times, at least once."""
        if not values.size:
            return
        total = int(counts.sum())
        mean = float((values * counts).sum()) / total
        squares = float((np.square(values - mean) * counts).sum())
        self.merge(Moments(total, mean, squares, float(values.min()), float(values.max())))

    def merge(self, other: Self | "Moments") -> None:
        """Merge the moments of further numbers."""
        if not other.count:
            return
        total = self.count + other.count
        distance = other.mean - self.mean
        # A product of floats may be infinite; a power raises an error instead.
        self.squares += other.squares + distance * (distance * self.count * other.count / total)
        self.mean += distance * other.count / total
        self.count = total
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def _add_piece(self, numbers: "np.ndarray[Any, np.dtype[np.float64]]") -> None:
        low, high = float(numbers.min()), float(numbers.max())
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers near 1e308
            mean = float(numbers.mean())
            squares = float(np.square(numbers - mean).sum())
        self.merge(Moments(numbers.size, mean, squares, low, high))
