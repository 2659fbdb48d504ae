"""Images of RCDB: stacked polygons around one centre."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fdsl.primitives.circle import directions
from fdsl.primitives.raster import draw_polygons
from fdsl.primitives.streams import Stream, below
from rcdb import kernels
from rcdb.categories import SCHEMA, Shape, draw
from rcdb.params import Params

Image = npt.NDArray[np.uint8]

SIZE_PX = 512
BIT_DEPTH = 8
BACKGROUND = 255

_SHAPE, _CENTRE, _GREYS, _NOISE, _BREAKS = range(5)
"""Lanes of an image's stream."""

_CANVAS_PX = 512


class Variant(NamedTuple):
    """All parameters of one image, from its category or drawn for it.

    Attributes
    ----------
    vertices, contours, perlin, gap, radius, aspect_x, aspect_y : as in Params
    centre_x, centre_y : px of a 512 px canvas
    """

    vertices: int
    contours: int
    perlin: float
    gap: float
    radius: int
    aspect_x: float
    aspect_y: float
    centre_x: float
    centre_y: float


VARIANT_SCHEMA = pa.schema([*list(SCHEMA)[2:], ("centre_x", pa.float64()), ("centre_y", pa.float64())])
UNITS = dict.fromkeys(("perlin", "gap", "radius", "centre_x", "centre_y"), f"px of a {_CANVAS_PX} px canvas")


def _draw_variant(params: Params, shape: Shape, stream: Stream) -> Variant:
    """Draw the centre, and the parameters that the category leaves open."""
    own_shape = draw(params, stream.words(_SHAPE, len(Shape._fields)))
    low, high = params.centre
    x, y = (low + below(word, high - low + 1) for word in stream.words(_CENTRE, 2))
    values = (own if shared is None else shared for shared, own in zip(shape, own_shape, strict=True))
    return Variant._make((*values, (_CANVAS_PX + x) / 2, (_CANVAS_PX + y) / 2))


def _draw_image(params: Params, size_px: int, stream: Stream, variant: Variant) -> Image:
    """Return an image: uint8 (size_px, size_px), grey on white."""
    n_contours, n_vertices = variant.contours, variant.vertices
    words = stream.words(_NOISE, n_contours * n_vertices * 2).reshape(n_contours, n_vertices, 2)
    vertices_px = np.empty(words.shape, dtype=np.int32)
    start = np.array((variant.radius * variant.aspect_x, variant.radius * variant.aspect_y))
    centre = np.array((variant.centre_x, variant.centre_y))
    kernels.grow_contours(
        words, kernels.GRADIENTS, directions(n_vertices), start, variant.perlin, variant.gap, centre,
        size_px / _CANVAS_PX, vertices_px,
    )  # fmt: skip
    greys = np.minimum(stream.words(_GREYS, n_contours).astype(np.uint64) * 257 >> 32, 255).astype(np.uint8)
    if params.broken:
        kept = (stream.uniforms(_BREAKS, n_contours * n_vertices) >= params.broken).reshape(n_contours, n_vertices)
    else:
        kept = np.ones((n_contours, n_vertices), dtype=np.bool_)
    image = np.full((size_px, size_px), BACKGROUND, dtype=np.uint8)
    draw_polygons(vertices_px, greys, kept, image)
    return image


def compile_kernels() -> None:
    """Compile every kernel, or load it from numba's cache.

    Renders a small image.
    """
    next(render_each(Params(), 16, [(Shape(3, 1, 0.0, 0.0, 1, 1.0, 1.0), Stream(0, 0, 0, 0))]))


def render_each(
    params: Params, size_px: int, samples: Iterable[tuple[Shape, Stream]]
) -> Iterator[tuple[Image, Variant]]:
    """Yield the image and variant of each sample.

    Yields
    ------
    image : uint8 (size_px, size_px), grey on white
    variant : Variant
    """
    for shape, stream in samples:
        variant = _draw_variant(params, shape, stream)
        yield _draw_image(params, size_px, stream, variant), variant
