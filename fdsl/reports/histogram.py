"""A histogram of a stream of numbers, in constant memory."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_MAX_BINS, _FEW_BINS = 64, 12
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
        """Count some numbers, except huge ones and NaN."""
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
    def counts(self) -> Counts:
        """Numbers in each bin: int64 (bins,)."""
        return self._counts

    @property
    def edges(self) -> Floats:
        """Borders of the bins: float64 (bins + 1,).

        Those of whole numbers lie halfway between two of them.
        """
        return _edges(self._first, len(self._counts), self.width, self.is_whole)

    def bars(self) -> tuple[Floats, Floats]:
        """Return heights and edges of bars that end where the numbers end.

        The first and the last bin may lie half outside the range, which would look like a dip. So they are cut there, and
        their heights are numbers per width of a whole bin. One of which less than half is left is joined with its neighbour.

        Returns
        -------
        heights : float64 (bars,)
        edges : float64 (bars + 1,)
        """
        first, counts, width = self._first, self._counts, self.width
        while len(counts) > max(_FEW_BINS, 2 * math.sqrt(self.n)):  # few numbers would fill single bins by chance
            first, counts, width = *_halved(first, counts), 2 * width
        heights, edges = counts.astype(np.float64), _edges(first, len(counts), width, self.is_whole)
        if len(heights) < 2:
            return heights, edges
        edges[0], edges[-1] = self.low - 0.5 * self.is_whole, self.high + 0.5 * self.is_whole
        for end, inner in ((0, 1), (-1, -2)):
            if len(heights) > 1 and abs(edges[end] - edges[inner]) < 0.5 * width:
                heights[inner] += heights[end]
                heights, edges = np.delete(heights, end), np.delete(edges, inner)
        return heights * width / np.diff(edges), edges

    def _widen(self) -> None:
        """Widen the bins until the range fits."""
        if self._exponent is None:
            spread = self.high - self.low or abs(self.high) * 2.0**-6 or 1.0
            finest = math.frexp(max(spread, abs(self.high) * 2.0**-40, 1 / _LIMIT))[1] - 6
            self._exponent = max(0, finest) if self.is_whole else finest
        while math.floor(self.high / self.width) - math.floor(self.low / self.width) >= _MAX_BINS:
            self._exponent += 1
            self._first, self._counts = _halved(self._first, self._counts)

    def _grow(self, first: int, stop: int) -> None:
        """Add empty bins at the ends, as far as needed."""
        if not len(self._counts):
            self._first = first
        before = max(0, self._first - first)
        after = max(0, stop - self._first - len(self._counts))
        self._first -= before
        self._counts = np.pad(self._counts, (before, after))


def _halved(first: int, counts: Counts) -> tuple[int, Counts]:
    """Return bins of twice the width.

    The number of the first one, and their counts, int64 (bins,).
    """
    numbers = (first + np.arange(len(counts))) >> 1
    return first >> 1, np.bincount(numbers - (first >> 1), counts).astype(np.int64)


def _edges(first: int, n: int, width: float, is_whole: bool) -> Floats:
    """Return the borders of n bins."""
    return (first + np.arange(n + 1, dtype=np.float64)) * width - 0.5 * is_whole


def format_number(value: float) -> str:
    """Format a number with four significant digits: 12,345; 0.1235."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
