"""ExFractalDB as described, in plain double precision.

Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tests import chaos_game

Floats = npt.NDArray[np.float64]

N_POINTS = 10_000
SIZE_PX = 224
VARIANCE_THRESHOLD = 0.05
FACTORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)
CAMERA_DISTANCE = 4.0
HALF_VIEW_RAD = math.radians(45.0) / 2.0


def draw_maps(rng: np.random.Generator) -> Floats:
    """Draw the maps of a candidate: float64 (maps, 12)."""
    return rng.uniform(-1.0, 1.0, (rng.integers(2, 8), 12))


def probabilities(maps: Floats) -> Floats:
    """Return each map's probability: its determinant's share."""
    determinants = np.abs(np.linalg.det(maps[:, :9].reshape(-1, 3, 3)))
    return determinants / determinants.sum()


def play(maps: Floats, probability: Floats, uniforms: Floats) -> Floats:
    """Return the points of a chaos game: float64 (points, 3).

    Parameters
    ----------
    uniforms : float64 (points,), 0..1; choose the maps
    """
    choices = np.searchsorted(np.cumsum(probability)[:-1], uniforms, side="right")
    return np.array(chaos_game(maps.tolist(), choices.tolist()))


def normalise(points: Floats) -> Floats:
    """Scale points to [-1, 1] over all axes, then centre them."""
    with np.errstate(all="ignore"):  # a system may diverge
        scaled = 2.0 * (points - points.min()) / (points.max() - points.min()) - 1.0
        return scaled - scaled.mean(axis=0)


def least_variance(points: Floats) -> float:
    """Return the variance along the flattest axis; NaN if the points diverge."""
    with np.errstate(all="ignore"):
        return float(normalise(points).var(axis=0).min())


def weigh(maps: Floats, coefficient: int, factor: float) -> Floats:
    """Return maps with one coefficient scaled in each.

    Parameters
    ----------
    coefficient : 0..11; -1 is none
    """
    return maps * np.where(np.arange(12) == coefficient, factor, 1.0)


def rotate(points: Floats, quaternion: Sequence[float]) -> Floats:
    """Return q p q* of each point p.

    Parameters
    ----------
    quaternion : (w, x, y, z) of length 1
    """
    w, axis = quaternion[0], np.array(quaternion[1:])
    crossed = np.cross(axis, points)
    rotated: Floats = points + 2.0 * (w * crossed + np.cross(axis, crossed))
    return rotated


def photograph(points: Floats) -> npt.NDArray[np.uint8]:
    """Plot points: uint8 (224, 224), white on black.

    The camera is 4 units along +z, and y points down.
    """
    half_height = (CAMERA_DISTANCE - points[:, 2]) * math.tan(HALF_VIEW_RAD)
    columns, rows = (np.floor((1.0 + points[:, axis] / half_height) / 2.0 * SIZE_PX).astype(int) for axis in (0, 1))
    inside = (columns >= 0) & (columns < SIZE_PX) & (rows >= 0) & (rows < SIZE_PX)
    image = np.zeros((SIZE_PX, SIZE_PX), dtype=np.uint8)
    image[rows[inside], columns[inside]] = 255
    return image


def draw_image(
    maps: Floats, coefficient: int, factor: float, quaternion: Sequence[float], uniforms: Floats
) -> npt.NDArray[np.uint8] | None:
    """Return the image of a weighted system.

    None if it diverges.
    """
    points = normalise(play(weigh(maps, coefficient, factor), probabilities(maps), uniforms))
    return photograph(rotate(points, quaternion)) if np.isfinite(points).all() else None
