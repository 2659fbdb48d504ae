"""The arithmetic of 3D iterated function systems: arrays and numbers in, points and pixels out."""

import math

import numpy as np
from numba import njit


@njit(cache=True)
def choose_maps(words, thresholds, choices):
    """Turn random words into map numbers: how many thresholds a word has reached.

    Parameters
    ----------
    words : uint32 (points,)
    thresholds : uint32 (maps - 1,), ascending; the cumulative probabilities of the maps times 2**32
    choices : uint8 (points,), written; 0 .. maps - 1
    """
    choices[:] = 0
    for threshold in thresholds:
        for i in range(words.shape[0]):
            choices[i] += np.uint8(words[i] >= threshold)


@njit(cache=True)
def in_lanes(maps, out):
    """Write maps in the form that `simd.play` takes.

    Parameters
    ----------
    maps : float64 (maps, 12); a..i (the matrix row by row), then the translation
    out : float64 (maps, 4, 4), written but for the last of each four, which stay as they are
    """
    for m in range(maps.shape[0]):
        for row in range(3):
            for column in range(3):
                out[m, column, row] = maps[m, 3 * row + column]
            out[m, 3, row] = maps[m, 9 + row]


@njit(cache=True)
def variances(points, means, half_range):
    """Return the variance of each axis once points are centred and divided by `half_range`.

    Parameters
    ----------
    points : float64 (3, points)
    means : three float64
    half_range : float64

    Returns
    -------
    x, y, z : float64, 0..1; of the population
    """
    n = points.shape[1]
    scale = 1.0 / half_range
    mean_x, mean_y, mean_z = means
    sum_x = sum_y = sum_z = 0.0
    for i in range(n):
        x, y, z = (points[0, i] - mean_x) * scale, (points[1, i] - mean_y) * scale, (points[2, i] - mean_z) * scale
        sum_x, sum_y, sum_z = sum_x + x * x, sum_y + y * y, sum_z + z * z
    return sum_x / n, sum_y / n, sum_z / n


@njit(cache=True, error_model="numpy")
def camera(low, high, mean, quaternion):
    """Return what takes points to the camera's frame: float64 (3, 4), a matrix and, in column 3, a translation.

    The least and the greatest coordinate are taken to -1 and 1, then the centroid to the origin, then all is turned.

    Parameters
    ----------
    low, high : float64; the least and the greatest coordinate of all axes
    mean : three float64; the centroid
    quaternion : four float64; (w, x, y, z) of length 1
    """
    x, y, z = mean
    qw, qx, qy, qz = quaternion
    rotation = (
        (1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qw * qz), 2 * (qx * qz + qw * qy)),
        (2 * (qx * qy + qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qw * qx)),
        (2 * (qx * qz - qw * qy), 2 * (qy * qz + qw * qx), 1 - 2 * (qx * qx + qy * qy)),
    )
    scale = 2.0 / (high - low)
    transform = np.empty((3, 4))
    for row in range(3):
        a, b, c = rotation[row][0] * scale, rotation[row][1] * scale, rotation[row][2] * scale
        transform[row] = a, b, c, -(a * x + b * y + c * z)
    return transform


@njit(cache=True, error_model="numpy")
def plot(points, transform, distance, focal_length, image):
    """Draw points as white pixels, seen in perspective from `distance` along +z, looking at the origin, y up.

    Parameters
    ----------
    points : float64 (3, points)
    transform : float64 (3, 4); the matrix and, in column 3, the translation that take points to the camera's frame
    distance : float64, in the frame's units
    focal_length : float64; the cotangent of half the field of view
    image : uint8 (size, size), contiguous, written: 255 where a point falls

    The pixels are computed before any is set, so that the first loop vectorises.
    """
    size, n = image.shape[0], points.shape[1]
    half = 0.5 * size
    scale = half * focal_length
    pixels = np.empty(n, dtype=np.int32)
    for i in range(n):
        x, y, z = points[0, i], points[1, i], points[2, i]
        right = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2] * z + transform[0, 3]
        up = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2] * z + transform[1, 3]
        near = transform[2, 0] * x + transform[2, 1] * y + transform[2, 2] * z + transform[2, 3]
        pixels_per_unit = scale / (distance - near)
        column, row = math.floor(half + right * pixels_per_unit), math.floor(half - up * pixels_per_unit)
        inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        pixels[i] = np.int32(row * size + column) if inside else np.int32(-1)
    flat = image.reshape(-1)
    for pixel in pixels:
        if pixel >= 0:
            flat[np.uint32(pixel)] = 255
