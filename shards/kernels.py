"""Rows of a PNG, with their checksum."""

import numpy as np
from numba import njit

_ADLER_MODULUS = np.int64(65521)


@njit(cache=True)
def filter_rows(packed, rows):
    """Prepend filter type 0 to each row of an image.

    Computes the Adler-32 in the same pass; a second pass would cost as much as the copy.

    Parameters
    ----------
    packed : uint8 (height, row), row at most 5,000
    rows : uint8 (height, 1 + row), written

    Returns
    -------
    int64; Adler-32 of `rows`

    Source: Deutsch, Gailly, "ZLIB Compressed Data Format Specification", RFC 1950, section 8.2.
    """
    n = packed.shape[1]
    low, high = np.int64(1), np.int64(0)
    for y in range(packed.shape[0]):
        rows[y, 0] = 0
        total = weighted = np.uint32(0)
        for x in range(n):
            rows[y, x + 1] = packed[y, x]
            total = np.uint32(total + packed[y, x])
            weighted = np.uint32(weighted + packed[y, x] * np.uint32(n - x))
        high = (high + (n + 1) * low + weighted) % _ADLER_MODULUS
        low = (low + total) % _ADLER_MODULUS
    return high << 16 | low
