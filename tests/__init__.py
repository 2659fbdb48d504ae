"""Tests mirror the folders. Here: the slow, obvious references that several of them share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def chaos_game(maps: list[list[float]], choices: list[int]) -> list[tuple[float, float, float]]:
    """Return the points from the image of the origin on; each of the maps has its 12 coefficients."""
    x = y = z = 0.0
    points = []
    for choice in choices:
        a, b, c, d, e, f, g, h, i, j, k, m = maps[choice]
        x, y, z = (
            (a * x + b * y) + (c * z + j),
            (d * x + e * y) + (f * z + k),
            (g * x + h * y) + (i * z + m),
        )
        points.append((x, y, z))
    return points


def line_pixels(x: int, y: int, x_end: int, y_end: int) -> set[tuple[int, int]]:
    """Return the pixels (x, y) of an unclipped Bresenham line: one per step along the longer axis, halves rounded away."""
    steps = max(abs(x_end - x), abs(y_end - y), 1)

    def at(start: int, end: int, step: int) -> int:
        moved = (2 * step * abs(end - start) + steps) // (2 * steps)
        return start + (moved if end >= start else -moved)

    return {(at(x, x_end, step), at(y, y_end, step)) for step in range(steps + 1)}


def paint(pixels: set[tuple[int, int]], grey: int, image: npt.NDArray[np.uint8]) -> None:
    """Set those of the pixels (x, y) that lie inside the image."""
    height, width = image.shape
    for x, y in pixels:
        if 0 <= x < width and 0 <= y < height:
            image[y, x] = grey


def misfit(counts: npt.ArrayLike, probabilities: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Return by how many standard deviations a chi-square test's statistic lies off its mean: |result| < 4 is a fit."""
    observed, expected = np.asarray(counts, dtype=float), np.asarray(probabilities, dtype=float)
    expected = expected * (observed.sum() / expected.sum())
    assert expected.min() > 5, "a chi-square test needs more samples than this"
    freedom = len(expected) - 1
    return float(((observed - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)
