"""Four chaos games side by side, in plain Python.

`chaos_vector` compiles the same arithmetic for vector lanes. This module is its
reference, and runs where numba's compiler is off.
"""

import numpy as np

CHAINS = 4
"""Games side by side: enough to keep a core busy, few enough for its registers."""

LANES = 4
"""x, y, z and a spare lane."""

POINT, SUM, SQUARES, LOW, HIGH = range(5)
"""Rows of a game's statistics."""

N_ROWS = 5


def advance(maps, choices, state, points):
    """Advance four games from `state`; see `chaos_vector.play`."""
    with np.errstate(all="ignore"):  # a system may diverge
        for i in range(choices.shape[1]):
            for chain in range(CHAINS):
                a, b, c, shift = maps[chain, choices[chain, i]]
                x, y, z, _ = state[chain, POINT]
                point = (a * x + b * y) + (c * z + shift)
                state[chain, POINT] = point
                state[chain, SUM] += point
                state[chain, LOW] = np.where(point < state[chain, LOW], point, state[chain, LOW])
                state[chain, HIGH] = np.where(point > state[chain, HIGH], point, state[chain, HIGH])
                if points is None:
                    state[chain, SQUARES] += point * point
                else:
                    points[chain, :, i] = point[:3]
