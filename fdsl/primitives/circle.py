"""Sines and cosines with the same bits on every machine.

libm does not promise that.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_TERMS = 10


def cos_sin(turn: float) -> tuple[float, float]:
    """Return the cosine and sine of an angle in turns.

    Uses only +, -, *, / and floor on float64, which IEEE 754 defines to the last bit.

    Parameters
    ----------
    turn : one turn is 2 pi rad

    Returns
    -------
    cosine, sine : -1..1, accurate to 4e-16
    """
    eighth = math.floor(turn * 8.0 + 0.5) / 8.0
    x = 2.0 * math.pi * (turn - eighth)
    cosine, sine, term = 1.0, x, x
    for k in range(1, _TERMS):
        even = -term * x / (2 * k)
        cosine += even
        term = even * x / (2 * k + 1)
        sine += term
    diagonal = math.sqrt(0.5)
    corner_cosine, corner_sine = (
        (1.0, 0.0), (diagonal, diagonal), (0.0, 1.0), (-diagonal, diagonal),
        (-1.0, 0.0), (-diagonal, -diagonal), (0.0, -1.0), (diagonal, -diagonal),
    )[int(eighth * 8.0) % 8]  # fmt: skip
    return corner_cosine * cosine - corner_sine * sine, corner_sine * cosine + corner_cosine * sine


@lru_cache(maxsize=1024)
def directions(n: int) -> npt.NDArray[np.float64]:
    """Return n unit vectors at equal angles, the first along x.

    Returns
    -------
    float64 (n, 2), read-only; axis 0 is the vertex v at 2 pi v / n rad, axis 1 is (cosine, sine)
    """
    table = np.array([cos_sin(v / n) for v in range(n)], dtype=np.float64)
    table.flags.writeable = False
    return table
