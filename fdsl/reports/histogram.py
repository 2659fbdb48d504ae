"""A histogram of a stream of numbers, in constant memory."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_MAX_BINS = 64
_LIMIT = 2.0**500
"""Numbers beyond this are left out, so that no sum or index overflows."""


class Histogram:
    """Counts of numbers, in bins that widen as the range grows.

    A bin is [k w, (k + 1) w) for a whole k. The width w is a power of two, so that widening only adds neighbours up, and the
    result does not depend on how the numbers were divided into portions.

    Parameters
    ----------
    is_whole : the numbers are whole; no bin is narrower than 1

    Attributes
    ----------
    n : how many numbers
    low, high : the smallest and the largest
    total : their sum
    """

    def __init__(self, is_whole: bool = False) -> None:
        self.is_whole = is_whole
        self.n, self.low, self.high, self.total = 0, math.inf, -math.inf, 0.0
        self._exponent: int | None = None
        self._first, self._counts = 0, np.zeros(0, dtype=np.int64)

    def add(self, values: npt.ArrayLike) -> None:
        """Count some numbers; those that are not finite, or huge, are left out."""
        numbers = np.asarray(values, dtype=np.float64).reshape(-1)
        numbers = numbers[np.abs(numbers) < _LIMIT]  # not so for NaN
        if not len(numbers):
            return
        self.n += len(numbers)
        self.total += float(numbers.sum())
        self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
        self._widen()
        indices = np.floor(numbers / self.width).astype(np.int64)
        self._grow(int(indices.min()), int(indices.max()) + 1)
        self._counts += np.bincount(indices - self._first, minlength=len(self._counts))

    @property
    def width(self) -> float:
        """Width of a bin, a power of two."""
        return math.ldexp(1.0, self._exponent or 0)

    @property
    def mean(self) -> float:
        """Mean of the numbers; NaN if there are none."""
        return self.total / self.n if self.n else math.nan

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Numbers in each bin: int64 (bins,)."""
        return self._counts

    @property
    def edges(self) -> Floats:
        """Borders of the bins: float64 (bins + 1,).

        Those of whole numbers lie halfway between two of them.
        """
        return (self._first + np.arange(len(self._counts) + 1, dtype=np.float64)) * self.width - 0.5 * self.is_whole

    def _widen(self) -> None:
        """Widen the bins until the range fits."""
        if self._exponent is None:
            spread = self.high - self.low or abs(self.high) * 2.0**-6 or 1.0
            finest = math.frexp(max(spread, abs(self.high) * 2.0**-40, 1 / _LIMIT))[1] - 6
            self._exponent = max(0, finest) if self.is_whole else finest
        while math.floor(self.high / self.width) - math.floor(self.low / self.width) >= _MAX_BINS:
            halves = self._first + np.arange(len(self._counts))
            self._exponent += 1
            self._first >>= 1
            self._counts = np.bincount((halves >> 1) - self._first, self._counts).astype(np.int64)

    def _grow(self, first: int, stop: int) -> None:
        """Add empty bins at the ends, as far as needed."""
        if not len(self._counts):
            self._first = first
        before = max(0, self._first - first)
        after = max(0, stop - self._first - len(self._counts))
        self._first -= before
        self._counts = np.pad(self._counts, (before, after))
