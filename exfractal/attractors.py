"""The points of iterated function systems, played four systems at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from exfractal import kernels
from exfractal.simd import CHAINS, HIGH, LANES, LOW, N_ROWS, SUM, play

Floats = npt.NDArray[np.float64]


class System(NamedTuple):
    """An iterated function system.

    maps : float64 (maps, 12); a..i (the matrix row by row), then the translation.
    thresholds : uint32 (maps - 1,); the maps' cumulative probabilities times 2**32.
    """

    maps: Floats
    thresholds: npt.NDArray[np.uint32]


def thresholds(probability: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Return the cumulative probabilities along the last axis but the last, times 2**32: uint32 (..., maps - 1)."""
    cumulative = np.cumsum(np.asarray(probability, dtype=np.float64), axis=-1)[..., :-1]
    return np.minimum(np.floor(cumulative * 2.0**32), 2.0**32 - 1).astype(np.uint32)


class Cloud(NamedTuple):
    """The points of an attractor.

    points : float64 (3, points); axes x, y, z.
    low, high : their least and greatest coordinate, of all axes.
    mean : the mean of each axis.
    """

    points: Floats
    low: float
    high: float
    mean: tuple[float, float, float]


def _cloud(points: Floats, state: Floats) -> Cloud | None:
    """Return a game's cloud, or None: a coordinate, or their sum, has left the range of float64, or all points are one."""
    rows = state.tolist()
    total, low, high = rows[SUM][:3], min(rows[LOW][:3]), max(rows[HIGH][:3])
    if not sum(map(abs, total)) < math.inf or not 0.0 < high - low < math.inf:
        return None
    n = points.shape[1]
    return Cloud(points, low, high, (total[0] / n, total[1] / n, total[2] / n))


class Games:
    """Room for chaos games of so many points, four side by side: memory that is asked for anew costs more than a game."""

    def __init__(self, n_points: int) -> None:
        self._points = np.empty((CHAINS, 3, n_points))
        self._choices = np.zeros((CHAINS, n_points), dtype=np.uint8)
        self._state = np.empty((CHAINS, N_ROWS, LANES))

    def play(self, systems: Sequence[System], words: Sequence[npt.NDArray[np.uint32]]) -> list[Cloud | None]:
        """Return the points of each of up to four systems, until the next call: the chaos game from the origin.

        Parameters
        ----------
        systems : 1..4 of them
        words : uint32 (points,) for each; word i chooses the map that gives point i

        Returns
        -------
        None where a system diverges, or where all its points are one.
        """
        maps = np.zeros((CHAINS, max(len(system.maps) for system in systems), LANES, LANES))
        self._choices[len(systems) :] = 0
        for k, (system, each) in enumerate(zip(systems, words, strict=True)):
            kernels.in_lanes(system.maps, maps[k])
            kernels.choose_maps(each, system.thresholds, self._choices[k])
        play(maps, self._choices, self._state, self._points)
        return [_cloud(self._points[k], self._state[k]) for k in range(len(systems))]
