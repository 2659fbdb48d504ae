"""Two yardsticks that hold on any machine: the plainest numba chaos game (T1), and the deflating of an image's rows (E)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from numba import njit

DEFLATE_LEVEL = 1


@njit(cache=True)
def chaos_game(
    maps: npt.NDArray[np.float64], cumulative: npt.NDArray[np.float64], n_points: int
) -> npt.NDArray[np.float64]:
    """Play the chaos game from the origin in one chain: T1 is the time that 10,000 points take.

    Plain, but not slow: counting the probabilities that a number has reached takes two thirds of the time of stopping at
    the first that it has not, which a processor cannot foresee.

    Parameters
    ----------
    maps : float64 (maps, 12); a..i (the matrix row by row), then the translation
    cumulative : float64 (maps - 1,); the maps' cumulative probabilities but the last one

    Returns
    -------
    points : float64 (points, 3)
    """
    points = np.empty((n_points, 3))
    x = y = z = 0.0
    for i in range(n_points):
        u = np.random.random()  # noqa: NPY002 (numba's own generator, the plain choice in a kernel; no image depends on it)
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


def rows_of(image: npt.NDArray[np.uint8], bit_depth: int) -> bytes:
    """Return the rows that a PNG file of an image deflates, each behind its filter type 0.

    Parameters
    ----------
    image : uint8 (height, width); 0..255
    bit_depth : 1 or 8
    """
    packed = np.packbits(image, axis=1) if bit_depth == 1 else image
    return np.pad(packed, ((0, 0), (1, 0))).tobytes()


def deflate(rows: bytes) -> bytes:
    """Deflate an image's rows by ISA-L at level 1: E is the time that this takes."""
    compressed: bytes = isal_zlib.compress(rows, DEFLATE_LEVEL)
    return compressed
