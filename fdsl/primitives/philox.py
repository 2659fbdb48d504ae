"""Philox4x32-10, a counter-based generator of random words.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np
from numba import njit

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEP_0, _KEY_STEP_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10


@njit(cache=True)
def philox4x32(key_0, key_1, counter_1, counter_2, counter_3, out):
    """Fill `out` with blocks 0, 1, 2, ... of one stream.

    Parameters
    ----------
    key_0, key_1 : int64, 0 .. 2**32 - 1
    counter_1, counter_2, counter_3 : int64, 0 .. 2**32 - 1. Word 0 of the counter is the block's number.
    out : uint32 (4 * blocks,), written
    """
    for block in range(out.shape[0] // 4):
        c0, c1, c2, c3 = np.uint64(block), np.uint64(counter_1), np.uint64(counter_2), np.uint64(counter_3)
        k0, k1 = np.uint64(key_0), np.uint64(key_1)
        for _ in range(_ROUNDS):
            product_0, product_1 = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
            c0, c1 = (product_1 >> _HALF) ^ c1 ^ k0, product_1 & _LOW
            c2, c3 = (product_0 >> _HALF) ^ c3 ^ k1, product_0 & _LOW
            k0, k1 = (k0 + _KEY_STEP_0) & _LOW, (k1 + _KEY_STEP_1) & _LOW
        out[4 * block] = c0
        out[4 * block + 1] = c1
        out[4 * block + 2] = c2
        out[4 * block + 3] = c3


@njit(cache=True)
def philox4x32_rows(key_0, key_1, counters_1, counter_2, counter_3, out):
    """Fill each row of `out` as `philox4x32` does.

    Parameters
    ----------
    counters_1 : int64 (rows,), 0 .. 2**32 - 1; word 1 of the counter, one per row
    out : uint32 (rows, 4 * blocks), written
    """
    for row in range(out.shape[0]):
        philox4x32(key_0, key_1, counters_1[row], counter_2, counter_3, out[row])
