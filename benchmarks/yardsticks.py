"""Two times that are comparable between machines.

T1 is the time of the plainest numba chaos game of 10,000 points. E is the time to deflate an image's rows with ISA-L.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from measures import clock
from numba import njit
from published_fractals import N_POINTS

DEFLATE_LEVEL = 1
_REPEATS = 3


@njit(cache=True)
def chaos_game(
    maps: npt.NDArray[np.float64], cumulative: npt.NDArray[np.float64], n_points: int
) -> npt.NDArray[np.float64]:
    """Play one chaos game from the origin.

    Plain, but not slow: it counts the probabilities that a random number reaches. Stopping at the first one it does not
    reach takes half as long again, because that branch cannot be predicted.

    Parameters
    ----------
    maps : float64 (maps, 12); a..i (the matrix row by row), then the translation
    cumulative : float64 (maps - 1,); cumulative probabilities of the maps, without the last

    Returns
    -------
    points : float64 (points, 3)
    """
    points = np.empty((n_points, 3))
    x = y = z = 0.0
    for i in range(n_points):
        u = np.random.random()  # noqa: NPY002 (numba's generator, the plain choice in a kernel; no image depends on it)
        k = 0
        for top in cumulative:
            k += u >= top
        m = maps[k]
        x, y, z = (
            m[0] * x + m[1] * y + m[2] * z + m[9],
            m[3] * x + m[4] * y + m[5] * z + m[10],
            m[6] * x + m[7] * y + m[8] * z + m[11],
        )
        points[i, 0], points[i, 1], points[i, 2] = x, y, z
    return points


def png_rows(image: npt.NDArray[np.uint8], bit_depth: int) -> bytes:
    """Return the rows that a PNG file deflates.

    Each row follows its filter type, 0.

    Parameters
    ----------
    image : uint8 (height, width); 0..255
    bit_depth : 1 or 8
    """
    packed = np.packbits(image, axis=1) if bit_depth == 1 else image
    return np.pad(packed, ((0, 0), (1, 0))).tobytes()


def _deflate_all(rows: Sequence[bytes]) -> None:
    for image_rows in rows:
        for _ in range(_REPEATS):
            isal_zlib.compress(image_rows, DEFLATE_LEVEL)


def _play_all(systems: Sequence[tuple[Any, Any]]) -> None:
    for maps, cumulative in systems:
        chaos_game(maps, cumulative, N_POINTS)


def prepare(rows: Sequence[bytes], categories: Sequence[dict[str, Any]]) -> Callable[[], dict[str, float]]:
    """Return a function that measures E and T1, in seconds per image.

    T1 is left out for a family whose categories have no affine maps.

    Parameters
    ----------
    rows : of some images; see `png_rows`
    categories : rows of the categories table
    """
    with_maps = [category for category in categories if "maps" in category]
    systems = [(np.array(row["maps"]), np.cumsum(row["probability"])[:-1]) for row in with_maps]
    _play_all(systems[:1])

    def measure() -> dict[str, float]:
        seconds = {"e": clock(_deflate_all, rows) / (len(rows) * _REPEATS)}
        return {**seconds, "t1": clock(_play_all, systems) / len(systems)} if systems else seconds

    return measure
