"""Kernels of radial contours: noise and growth."""

import numpy as np
from numba import njit

PERMUTATION = np.array(
    [
        151, 160, 137, 91, 90, 15, 131, 13, 201, 95, 96, 53, 194, 233, 7, 225, 140, 36, 103, 30, 69, 142, 8, 99, 37, 240,
        21, 10, 23, 190, 6, 148, 247, 120, 234, 75, 0, 26, 197, 62, 94, 252, 219, 203, 117, 35, 11, 32, 57, 177, 33, 88,
        237, 149, 56, 87, 174, 20, 125, 136, 171, 168, 68, 175, 74, 165, 71, 134, 139, 48, 27, 166, 77, 146, 158, 231, 83,
        111, 229, 122, 60, 211, 133, 230, 220, 105, 92, 41, 55, 46, 245, 40, 244, 102, 143, 54, 65, 25, 63, 161, 1, 216,
        80, 73, 209, 76, 132, 187, 208, 89, 18, 169, 200, 196, 135, 130, 116, 188, 159, 86, 164, 100, 109, 198, 173, 186,
        3, 64, 52, 217, 226, 250, 124, 123, 5, 202, 38, 147, 118, 126, 255, 82, 85, 212, 207, 206, 59, 227, 47, 16, 58,
        17, 182, 189, 28, 42, 223, 183, 170, 213, 119, 248, 152, 2, 44, 154, 163, 70, 221, 153, 101, 155, 167, 43, 172, 9,
        129, 22, 39, 253, 19, 98, 108, 110, 79, 113, 224, 232, 178, 185, 112, 104, 218, 246, 97, 228, 251, 34, 242, 193,
        238, 210, 144, 12, 191, 179, 162, 241, 81, 51, 145, 235, 249, 14, 239, 107, 49, 192, 214, 31, 181, 199, 106, 157,
        184, 84, 204, 176, 115, 121, 50, 45, 127, 4, 150, 254, 138, 236, 205, 93, 222, 114, 67, 29, 24, 72, 243, 141, 128,
        195, 78, 66, 215, 61, 156, 180,
    ],
    dtype=np.uint8,
)  # fmt: skip
"""Source: Perlin, "Improving noise", SIGGRAPH 2002, the reference implementation's table."""

GRADIENTS = np.where(PERMUTATION & 8, -1.0, (PERMUTATION & 7) + 1.0).astype(np.float32)
"""Slope at each lattice point: 1..8, or -1 for half of them, as in the library of the published generator."""


_FIFTEEN, _TEN, _SIX, _ONE, _HEIGHT = np.array([15.0, 10.0, 6.0, 1.0, 0.4], dtype=np.float32)


@njit(cache=True)
def perlin(x, left, right):
    """Return 1-D Perlin noise between two lattice points.

    One octave of improved gradient noise, times 0.4, in float32. Equals the library of the published generator bit for bit.

    Parameters
    ----------
    x : float32, 0..1; position from the left point to the right one
    left, right : float32; slopes at the points
    """
    low, high = left * x, right * (x - _ONE)
    return _HEIGHT * (low + x * x * x * (x * (x * _SIX - _FIFTEEN) + _TEN) * (high - low))


@njit(cache=True)
def grow_contours(words, gradients, directions, start, perlin_px, gap_px, centre_px, scale, vertices_px):
    """Grow each contour from the last one.

    Every vertex moves outwards along its direction by noise + gap, axis by axis. The axes of all vertices are in one row, and
    slopes are looked up in a loop of their own, so that the other loops vectorise. The published period of the noise, 1024,
    is a multiple of the table's, 256, so the table's is the real period.

    Parameters
    ----------
    words : uint32 (contours, vertices, 2); axis 2 is x, y; a word gives the noise position 10,000 (word + 1/2) / 2**32,
        rounded to float32
    gradients : float32 (256,); GRADIENTS
    directions : float64 (vertices, 2); unit vector of each vertex
    start : float64 (2,); semi-axes of the polygon that the first contour grows from, px of a 512 px canvas
    perlin_px, gap_px : float64, px of a 512 px canvas
    centre_px : float64 (2,); x and y, px of a 512 px canvas
    scale : float64; image px per px of a 512 px canvas
    vertices_px : int32 (contours, vertices, 2), px, written; axis 2 is x, y; truncated, as PIL does in the published code
    """
    n_contours, n = words.shape[0], 2 * words.shape[1]
    position, centre = np.empty((2, n))
    x, left, right, noise = np.empty((4, n), dtype=np.float32)
    cells = np.empty(n, dtype=np.uint16)
    direction = directions.reshape(-1)
    for k in range(n):
        position[k], centre[k] = start[k % 2] * direction[k], centre_px[k % 2]
    for contour in range(n_contours):
        noise_words, grown_px = words[contour].reshape(-1), vertices_px[contour].reshape(-1)
        for k in range(n):
            u = np.float32((noise_words[k] + 0.5) * (10_000.0 * 2.0**-32))
            cell = np.int32(u)
            x[k], cells[k] = u - np.float32(cell), cell & 255
        for k in range(n):
            left[k], right[k] = gradients[cells[k]], gradients[(cells[k] + 1) & 255]
        for k in range(n):
            noise[k] = perlin(x[k], left[k], right[k])
        for k in range(n):
            position[k] -= direction[k] * (2.0 * perlin_px * noise[k] - perlin_px - gap_px)
            grown_px[k] = np.int32((position[k] + centre[k]) * scale)
