"""RCDB as described, in plain double precision, with PIL's lines.

Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from rcdb.kernels import PERMUTATION
from rcdb.render import Variant

Floats = npt.NDArray[np.float64]

SIZE_PX = 512


def slopes(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the slope at each whole number: 1..8 or -1.

    The table of the noise is data: its hash is that of the published library.
    """
    hashed = PERMUTATION[cells % 1024 % 256]
    return np.where(hashed & 8, -1.0, (hashed & 7) + 1.0).astype(np.float32)


def perlin(u: Floats) -> npt.NDArray[np.float32]:
    """Return improved gradient noise.

    In float32, as in the library of the published generator.
    """
    position = u.astype(np.float32)
    cells = np.floor(position).astype(np.int64)
    x = position - np.floor(position)
    left, right = slopes(cells) * x, slopes(cells + 1) * (x - np.float32(1))
    fade = x * x * x * (x * (x * np.float32(6) - np.float32(15)) + np.float32(10))
    return (left + fade * (right - left)) * np.float32(0.4)


def draw_image(variant: Variant, positions: Floats, greys: list[int]) -> npt.NDArray[np.uint8]:
    """Return an image: uint8 (512, 512).

    Parameters
    ----------
    positions : float64 (contours, vertices, 2), 0 .. 10,000; of the noise; axis 2 is x, y
    greys : 0 .. 255 per contour
    """
    n, c, w = variant.vertices, variant.perlin, variant.gap
    angles = [2.0 * math.pi / n * v for v in range(n)]
    xs = [variant.radius * variant.aspect_x * math.cos(angle) for angle in angles]
    ys = [variant.radius * variant.aspect_y * math.sin(angle) for angle in angles]
    image = Image.new("RGB", (SIZE_PX, SIZE_PX), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    for contour, grey in zip(positions, greys, strict=True):
        noise = (2.0 * c * perlin(contour).astype(float) - c).tolist()
        for v, (angle, (noise_x, noise_y)) in enumerate(zip(angles, noise, strict=True)):
            xs[v] -= math.cos(angle) * (noise_x - w)
            ys[v] -= math.sin(angle) * (noise_y - w)
        vertices = [(x + variant.centre_x, y + variant.centre_y) for x, y in zip(xs, ys, strict=True)]
        for start, end in zip(vertices, vertices[1:] + vertices[:1], strict=True):
            draw.line((*start, *end), fill=(grey, grey, grey), width=1)
    red, green, blue = np.moveaxis(np.asarray(image), 2, 0)
    assert (red == green).all()
    assert (red == blue).all()
    return red
