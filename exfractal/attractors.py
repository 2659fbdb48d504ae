"""Points of iterated function systems, computed four systems at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from exfractal import kernels
from exfractal.chaos_plain import CHAINS, HIGH, LANES, LOW, N_ROWS, SUM
from exfractal.chaos_vector import play

Floats = npt.NDArray[np.float64]


class System(NamedTuple):
    """An iterated function system.

    Attributes
    ----------
    maps : float64 (maps, 12); a..i (the matrix row by row), then the translation
    thresholds : uint32 (maps - 1,); cumulative probabilities of the maps times 2**32
    """

    maps: Floats
    thresholds: npt.NDArray[np.uint32]


def thresholds(probability: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Return cumulative probabilities times 2**32, without the last.

    Parameters
    ----------
    probability : (..., maps), 0..1

    Returns
    -------
    uint32 (..., maps - 1)
    """
    cumulative = np.cumsum(np.asarray(probability, dtype=np.float64), axis=-1)[..., :-1]
    return np.minimum(np.floor(cumulative * 2.0**32), 2.0**32 - 1).astype(np.uint32)


class Cloud(NamedTuple):
    """Points of an attractor.

    Attributes
    ----------
    points : float64 (3, points); axis 0 is x, y, z
    low, high : lowest and highest coordinate over all axes
    mean : mean of each axis
    """

    points: Floats
    low: float
    high: float
    mean: tuple[float, float, float]


def _cloud(points: Floats, state: Floats) -> Cloud | None:
    """Return a game's cloud.

    None if a coordinate or their sum overflows float64, or if all points coincide.
    """
    rows = state.tolist()
    total, low, high = rows[SUM][:3], min(rows[LOW][:3]), max(rows[HIGH][:3])
    if not sum(map(abs, total)) < math.inf or not 0.0 < high - low < math.inf:
        return None
    n_points = points.shape[1]
    return Cloud(points, low, high, (total[0] / n_points, total[1] / n_points, total[2] / n_points))


class Games:
    """Reusable buffers for four chaos games.

    Allocating them takes longer than a game.

    Parameters
    ----------
    n_points : points of a game
    """

    def __init__(self, n_points: int) -> None:
        self._points = np.empty((CHAINS, 3, n_points))
        self._choices = np.zeros((CHAINS, n_points), dtype=np.uint8)
        self._state = np.empty((CHAINS, N_ROWS, LANES))

    def play(self, systems: Sequence[System], words: Sequence[npt.NDArray[np.uint32]]) -> list[Cloud | None]:
        """Play up to four chaos games from the origin.

        Parameters
        ----------
        systems : 1..4
        words : uint32 (points,) per system; word i chooses the map that gives point i

        Returns
        -------
        One Cloud per system, valid until the next call; None if the system diverges or its points coincide.
        """
        maps = np.zeros((CHAINS, max(len(system.maps) for system in systems), LANES, LANES))
        self._choices[len(systems) :] = 0
        for k, (system, own_words) in enumerate(zip(systems, words, strict=True)):
            kernels.in_lanes(system.maps, maps[k])
            kernels.choose_maps(own_words, system.thresholds, self._choices[k])
        play(maps, self._choices, self._state, self._points)
        return [_cloud(self._points[k], self._state[k]) for k in range(len(systems))]
