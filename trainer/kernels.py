"""Resizing and shearing by Pillow's formulas, several times as fast.

numba compiles each kernel once per machine.
"""

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numba import njit

BITS = 22
"""Of the fraction of a weight, as Pillow's."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a kernel at its first call.

    It is kept on the disk, if numba finds a place there.
    """
    try:
        return njit(cache=True)(function)
    except RuntimeError:
        return njit(function)


def compile_kernels() -> None:
    """Compile all kernels, which each loader worker would compile."""
    pixels = np.zeros((2, 2, 1), np.uint8)
    resize(pixels, (2, 2), True)
    shear(pixels, 0.0, 0.0, True, pixels[0, 0])


def resize(pixels: np.ndarray, size: tuple[int, int], cubic: bool) -> np.ndarray:
    """Resize uint8 (height, width, channels) to Pillow's pixels.

    Transposed, both passes add whole rows, which a processor does many pixels at a time.
    """
    (height, width), (rows, columns, n_channels) = size, pixels.shape
    narrow = _scaled(cv2.transpose(pixels).reshape(columns, -1), width, cubic)
    narrow = cv2.transpose(narrow.reshape(width, rows, n_channels))
    return _scaled(narrow.reshape(rows, -1), height, cubic).reshape(height, width, n_channels)


@compiled
def _weights(n_in: int, n_out: int, cubic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return each output's first input, and its weights.

    int64 (n_out,), and int32 (n_out, taps) in units of 2**-BITS. The filter is a triangle or Keys's cubic with a = -0.5; it
    is at least as wide as an output.
    """
    scale, radius = n_in / n_out, 2.0 if cubic else 1.0
    width = max(scale, 1.0)
    first, found = np.zeros(n_out, np.int64), np.zeros((n_out, 2 * math.ceil(radius * width) + 1), np.int32)
    values = np.zeros(found.shape[1])
    for k in range(n_out):
        center = (k + 0.5) * scale
        first[k], last = max(int(center - radius * width + 0.5), 0), min(int(center + radius * width + 0.5), n_in)
        values[:] = 0.0
        for i in range(first[k], last):
            x = abs((i - center + 0.5) / width)
            value = 1.0 - x
            if cubic:
                value = (1.5 * x - 2.5) * x * x + 1 if x < 1.0 else ((x - 5) * x + 8) * x * -0.5 + 2
            values[i - first[k]] = value if x < radius else 0.0
        total = 0.0
        for value in values:  # in order, unlike `sum`
            total += value
        values = values / total * (1 << BITS)
        for i in range(last - first[k]):
            found[k, i] = int(values[i] + (0.5 if values[i] > 0 else -0.5))
    return first, found


@compiled
def _scaled(pixels: np.ndarray, n_out: int, cubic: bool) -> np.ndarray:
    """Resize the first axis of uint8 (n_in, lanes)."""
    n_in, n_lanes = pixels.shape
    first, weights = _weights(n_in, n_out, cubic)
    out, sums = np.empty((n_out, n_lanes), np.uint8), np.empty(n_lanes, np.int32)
    for k in range(n_out):
        sums[:] = 1 << (BITS - 1)
        for tap in range(weights.shape[1]):
            weight, i = np.int32(weights[k, tap]), first[k] + tap
            if weight != 0:
                for lane in range(n_lanes):
                    sums[lane] = np.int32(sums[lane] + np.int32(np.int32(pixels[i, lane]) * weight))
        for lane in range(n_lanes):
            out[k, lane] = np.uint8(min(max(np.int32(sums[lane] >> np.int32(BITS)), np.int32(0)), np.int32(255)))
    return out


@compiled
def shear(pixels: np.ndarray, slope: float, offset: float, cubic: bool, fill: np.ndarray) -> np.ndarray:
    """Shift each row of uint8 (height, width, channels).

    A pixel is taken from `slope` y + `offset` px to the right, y being its middle; one outside is `fill`, uint8 (channels,).
    """
    height, width, n = pixels.shape
    out, row = np.empty((height, width * n), np.uint8), np.empty(((width + 3), n), np.float32)
    flat, two = row.reshape(-1), np.float32(2.0)
    for y in range(height):
        shift = slope * (y + 0.5) + offset
        low, high = max(0, math.ceil(-shift - 0.5)), min(width, math.ceil(width - shift - 0.5))
        low, high = min(low, width), max(high, 0)
        for k in range(n):
            out[y, k : low * n : n] = fill[k]
            out[y, max(low, high) * n + k :: n] = fill[k]
        whole = math.floor(shift)
        t = np.float32(shift - whole)
        for x in range(high - low + 3):  # the sources of these pixels; beyond an edge, the pixel at the edge
            for k in range(n):
                row[x, k] = pixels[y, min(max(low + whole - 1 + x, 0), width - 1), k]
        part = out[y, low * n :]
        for i in range((high - low) * n):
            a, b, c, d = flat[i], flat[i + n], flat[i + 2 * n], flat[i + 3 * n]
            value = b + t * (c - b)
            if cubic:
                value = b + t * (c - a + t * (two * (a - b) + c - d + t * (b - a + d - c)))
            part[i] = np.uint8(np.int32(min(max(value, np.float32(0.0)), np.float32(255.0))))
    return out.reshape(pixels.shape)
