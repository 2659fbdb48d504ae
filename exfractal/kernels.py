"""Kernels of 3D iterated function systems: maps, normalisation, projection."""

import math

import numpy as np
from numba import njit


@njit(cache=True)
def choose_maps(words, thresholds, choices):
    """Turn random words into map numbers.

    A word's map number is the number of thresholds that it reaches.

    Parameters
    ----------
    words : uint32 (points,)
    thresholds : uint32 (maps - 1,), ascending; cumulative probabilities of the maps times 2**32
    choices : uint8 (points,), written; 0 .. maps - 1
    """
    choices[:] = 0
    for threshold in thresholds:
        for i in range(words.shape[0]):
            choices[i] += np.uint8(words[i] >= threshold)


@njit(cache=True)
def in_lanes(maps, out):
    """Write maps as columns of four lanes, as `chaos_vector.play` takes them.

    Parameters
    ----------
    maps : float64 (maps, 12); a..i (the matrix row by row), then the translation
    out : float64 (maps, 4, 4), written; axis 1 is three matrix columns and the translation; axis 2 is x, y, z and a spare
        lane, which is not written
    """
    for m in range(maps.shape[0]):
        for row in range(3):
            for column in range(3):
                out[m, column, row] = maps[m, 3 * row + column]
            out[m, 3, row] = maps[m, 9 + row]


@njit(cache=True)
def variances(points, means, half_range):
    """Return the variance of each axis in normalised coordinates.

    Parameters
    ----------
    points : float64 (3, points); axis 0 is x, y, z
    means : three float64; mean of each axis
    half_range : float64; divides the centred coordinates

    Returns
    -------
    x, y, z : float64, 0..1; variance of the population
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
    """Return the transform from a point cloud to the camera's frame.

    It maps the lowest and highest coordinate to -1 and 1, moves the centroid to the origin, then rotates.

    Parameters
    ----------
    low, high : float64; lowest and highest coordinate over all axes
    mean : three float64; centroid
    quaternion : four float64; (w, x, y, z) of length 1

    Returns
    -------
    float64 (3, 4); a matrix and, in column 3, a translation
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
    """Draw points as white pixels in perspective.

    The camera is at `distance` on the +z axis, looks at the origin, and has y down, as in the published pictures. All pixels
    are computed before any is set, so that the first loop vectorises.

    Parameters
    ----------
    points : float64 (3, points)
    transform : float64 (3, 4); a matrix and, in column 3, a translation to the camera's frame
    distance : float64, in the frame's units
    focal_length : float64; cotangent of half the field of view
    image : uint8 (size, size), contiguous, written; 255 where a point falls
    """
    size, n = image.shape[0], points.shape[1]
    half = 0.5 * size
    scale = half * focal_length
    pixels = np.empty(n, dtype=np.int32)
    for i in range(n):
        x, y, z = points[0, i], points[1, i], points[2, i]
        right = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2] * z + transform[0, 3]
        down = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2] * z + transform[1, 3]
        near = transform[2, 0] * x + transform[2, 1] * y + transform[2, 2] * z + transform[2, 3]
        pixels_per_unit = scale / (distance - near)
        column, row = math.floor(half + right * pixels_per_unit), math.floor(half + down * pixels_per_unit)
        inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        pixels[i] = np.int32(row * size + column) if inside else np.int32(-1)
    flat = image.reshape(-1)
    for pixel in pixels:
        if pixel >= 0:
            flat[np.uint32(pixel)] = 255
