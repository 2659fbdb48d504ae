"""RCDB's images: a stack of closed polygons around one centre, each grown from the last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from primitives.circle import directions
from primitives.kernels import draw_polygons
from primitives.streams import Stream, below
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


class Drawn(NamedTuple):
    """What one image is made of, be it drawn for the category or for the image. Units as in Params.

    centre_x, centre_y : px of a 512 px canvas.
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


DRAWN_SCHEMA = pa.schema([*list(SCHEMA)[2:], ("centre_x", pa.float64()), ("centre_y", pa.float64())])


def _draw(params: Params, shape: Shape, stream: Stream) -> Drawn:
    """Draw the centre and what the category leaves open."""
    own = draw(params, stream.words(_SHAPE, len(Shape._fields)))
    low, high = params.centre
    x, y = (low + below(word, high - low + 1) for word in stream.words(_CENTRE, 2))
    merged = (mine if shared is None else shared for shared, mine in zip(shape, own, strict=True))
    return Drawn._make((*merged, (_CANVAS_PX + x) / 2, (_CANVAS_PX + y) / 2))


def make(params: Params, size_px: int, shape: Shape, stream: Stream, drawn: Drawn) -> Image:
    """Return the image of what was drawn for the image that `stream` names: uint8 (size_px, size_px), grey on white."""
    n_contours, n_vertices = drawn.contours, drawn.vertices
    words = stream.words(_NOISE, n_contours * n_vertices * 2).reshape(n_contours, n_vertices, 2)
    vertices_px = np.empty(words.shape, dtype=np.int32)
    start = np.array((drawn.radius * drawn.aspect_x, drawn.radius * drawn.aspect_y))
    centre = np.array((drawn.centre_x, drawn.centre_y))
    kernels.grow_contours(
        words, kernels.GRADIENTS, directions(n_vertices), start, drawn.perlin, drawn.gap, centre,
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


def warm() -> None:
    """Compile every kernel, or load it from numba's cache, by making one small image."""
    render(Params(), 16, Shape(3, 1, 0.0, 0.0, 1, 1.0, 1.0), Stream(0, 0, 0, 0))


def render(params: Params, size_px: int, shape: Shape, stream: Stream) -> tuple[Image, Drawn]:
    """Draw the parameters of the image that `stream` names, and make it."""
    drawn = _draw(params, shape, stream)
    return make(params, size_px, shape, stream, drawn), drawn


def render_each(params: Params, size_px: int, samples: Iterable[tuple[Shape, Stream]]) -> Iterator[tuple[Image, Drawn]]:
    """Draw the parameters of images, and make them, one after the other."""
    for shape, stream in samples:
        yield render(params, size_px, shape, stream)
