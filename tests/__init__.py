"""Tests mirror the folders. This module holds slow, obvious references that several tests share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def chaos_game(maps: list[list[float]], choices: list[int]) -> list[tuple[float, float, float]]:
    """Return the points of a chaos game, starting with the image of the origin. Each map has 12 coefficients."""
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


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> list[int]:
    """Return one block of Philox4x32-10, in Python's integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * c0, 2**32)
        high_1, low_1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


def line_pixels(x: int, y: int, x_end: int, y_end: int) -> set[tuple[int, int]]:
    """Return the pixels (x, y) of an unclipped Bresenham line.

    One pixel per step along the longer axis; halves round away from the start.
    """
    steps = max(abs(x_end - x), abs(y_end - y), 1)

    def at(start: int, end: int, step: int) -> int:
        moved = (2 * step * abs(end - start) + steps) // (2 * steps)
        return start + (moved if end >= start else -moved)

    return {(at(x, x_end, step), at(y, y_end, step)) for step in range(steps + 1)}


def paint(pixels: set[tuple[int, int]], grey: int, image: npt.NDArray[np.uint8]) -> None:
    """Set the pixels (x, y) that lie inside the image."""
    height, width = image.shape
    for x, y in pixels:
        if 0 <= x < width and 0 <= y < height:
            image[y, x] = grey


def misfit(counts: npt.ArrayLike, probabilities: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Return the distance of a chi-square statistic from its mean, in standard deviations. Below 4 is a fit."""
    observed, expected = np.asarray(counts, dtype=float), np.asarray(probabilities, dtype=float)
    expected = expected * (observed.sum() / expected.sum())
    assert expected.min() > 5, "a chi-square test needs more samples than this"
    freedom = len(expected) - 1
    return float(((observed - expected) ** 2 / expected).sum() - freedom) / math.sqrt(2 * freedom)
