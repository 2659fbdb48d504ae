"""ExFractalDB's images: one category's system with one coefficient scaled, seen from one viewpoint."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from exfractal import kernels
from exfractal.attractors import Cloud, Games, System, thresholds
from exfractal.categories import Candidate, accepts, sample
from exfractal.params import N_VIEWS, Params
from exfractal.simd import CHAINS
from primitives.circle import cos_sin
from primitives.fields import InputError
from primitives.streams import Stream, below

Image = npt.NDArray[np.uint8]
Quaternion = tuple[float, float, float, float]
"""(w, x, y, z) of length 1."""

SIZE_PX = 224
BIT_DEPTH = 1
"""Points are white on black."""

BACKGROUND = 0

CAMERA_DISTANCE = 4.0
FOCAL_LENGTH = 1.0 + math.sqrt(2.0)
"""cot(45 degrees / 2): the field of view is 45 degrees."""

_VIEW = 0
_MAX_REDRAWS = 1000


def _object_lanes(redraws: int) -> tuple[int, int]:
    """Return the lanes of an image's stream that give the weight and the points after so many redraws."""
    return 1 + 2 * redraws, 2 + 2 * redraws


class Drawn(NamedTuple):
    """What was drawn for one image.

    redraws : how many weights and point sequences were drawn and thrown away because they diverge.
    coefficient : which of the 12 coefficients is scaled in every map, 0..11; -1 is none, the identity.
    factor : by how much.
    qw, qx, qy, qz : the viewpoint: the unit quaternion that turns the attractor into the camera's frame.
    """

    redraws: int
    coefficient: int
    factor: float
    qw: float
    qx: float
    qy: float
    qz: float


DRAWN_SCHEMA = pa.schema(
    [
        ("redraws", pa.int16()),
        ("coefficient", pa.int8()),
        ("factor", pa.float64()),
        *((name, pa.float64()) for name in ("qw", "qx", "qy", "qz")),
    ]
)


def _object_stream(params: Params, stream: Stream) -> Stream:
    """Return the stream of an image's weight and points: its own, or that of the ring's first view."""
    if params.viewpoint == "random":
        return stream
    return stream._replace(instance=stream.instance - stream.instance % N_VIEWS)


def _draw_weight(params: Params, word: int) -> tuple[int, float]:
    """Return one row of the weight table as (coefficient, factor)."""
    row = below(word, params.n_weights)
    if row == 0:
        return -1, 1.0
    coefficient, which = divmod(row - 1, len(params.factors))
    return coefficient, params.factors[which]


def _draw_rotation(params: Params, stream: Stream) -> Quaternion:
    """Draw a unit quaternion uniformly over all rotations, from two points in the unit disc by arithmetic alone.

    Source: Marsaglia, "Choosing a point from the surface of a sphere", Ann. Math. Stat. 43(2), 1972.
    """
    n = 8
    while True:
        discs: list[tuple[float, float, float]] = []
        words = iter(stream.words(_VIEW, n).tolist())
        for first, second in zip(words, words, strict=True):
            x, y = (first + 0.5) * 2.0**-31 - 1.0, (second + 0.5) * 2.0**-31 - 1.0
            square = x * x + y * y
            if not 0.0 < square < 1.0:
                continue
            if discs:
                ((x1, y1, square1),) = discs
                stretch = math.sqrt((1.0 - square1) / square)
                return x1, y1, x * stretch, y * stretch
            discs.append((x, y, square))
        n *= 2


def _draw_ring_view(params: Params, stream: Stream) -> Quaternion:
    """Return the rotation about the vertical axis of a ring's view: 30 degrees, 60, ... and a jitter."""
    jitter = 2.0 * float(stream.uniforms(_VIEW, 1)[0]) - 1.0
    yaw_turns = (stream.instance % N_VIEWS + 1) / N_VIEWS + jitter * params.jitter_deg / 360.0
    cosine, sine = cos_sin(yaw_turns / 2.0)
    return cosine, 0.0, sine, 0.0


def weighted(system: System, coefficient: int, factor: float) -> System:
    """Return a system with one coefficient scaled in every map, -1 being none; the maps' probabilities stay."""
    if coefficient < 0:
        return system
    maps = system.maps.copy()
    maps[:, coefficient] *= factor
    return System(maps, system.thresholds)


def project(cloud: Cloud, quaternion: Quaternion, size_px: int) -> Image:
    """Return the image, uint8 (size_px, size_px), of points that are normalised, centred, turned and projected.

    Normalising takes the least and the greatest coordinate to -1 and 1; then the centroid is subtracted. Both are folded
    into the rotation.
    """
    transform = kernels.camera(cloud.low, cloud.high, cloud.mean, quaternion)
    image = np.zeros((size_px, size_px), dtype=np.uint8)
    kernels.plot(cloud.points, transform, CAMERA_DISTANCE, FOCAL_LENGTH, image)
    return image


def make(params: Params, size_px: int, system: System, stream: Stream, drawn: Drawn) -> Image:
    """Return the image of what was drawn for the image that `stream` names: uint8 (size_px, size_px), 0 or 255.

    Raises
    ------
    InputError
        What was drawn diverges: it was drawn for another dataset.
    """
    words = _object_stream(params, stream).words(_object_lanes(drawn.redraws)[1], params.points)
    (made,) = Games(params.points).play([weighted(system, drawn.coefficient, drawn.factor)], [words])
    if made is None:
        raise InputError(
            f"image {stream.category:06}_{stream.instance:06}: {drawn} diverges: not drawn for this dataset"
        )
    return project(made, drawn[3:], size_px)


def warm() -> None:
    """Compile every kernel, or load it from numba's cache, by making one small image."""
    params = Params(points=100)
    halves = np.tile(np.eye(3, 4).reshape(1, -1) * 0.5, (2, 1))
    halves[1, 9:] = 1.0
    accepts(params, 0, 0, Candidate(halves, np.array([0.5, 0.5])))
    sample(params, 0, range(1))
    render(params, 16, System(halves, thresholds((0.5, 0.5))), Stream(0, 0, 0, 0))


def _render_few(
    params: Params, size_px: int, games: Games, samples: Sequence[tuple[System, Stream]]
) -> list[tuple[Image, Drawn]]:
    """Return the images of up to four samples. A weighted system that diverges is drawn again, weight and points."""
    draw_view = _draw_ring_view if params.viewpoint == "ring" else _draw_rotation
    made: dict[int, tuple[Image, Drawn]] = {}
    sources = [_object_stream(params, stream) for _, stream in samples]
    for redraws in range(_MAX_REDRAWS):
        left = [k for k in range(len(samples)) if k not in made]
        if not left:
            break
        weight_lane, points_lane = _object_lanes(redraws)
        weights = [_draw_weight(params, sources[k].words(weight_lane, 1)[0]) for k in left]
        systems = [weighted(samples[k][0], *weight) for k, weight in zip(left, weights, strict=True)]
        clouds = games.play(systems, [sources[k].words(points_lane, params.points) for k in left])
        for k, weight, cloud in zip(left, weights, clouds, strict=True):
            if cloud is not None:
                quaternion = draw_view(params, samples[k][1])
                made[k] = project(cloud, quaternion, size_px), Drawn(redraws, *weight, *quaternion)
    if len(made) < len(samples):
        category = next(stream.category for k, (_, stream) in enumerate(samples) if k not in made)
        raise InputError(f"category {category}: {_MAX_REDRAWS} weighted systems diverge; replace it in the table")
    return [made[k] for k in range(len(samples))]


def render_each(
    params: Params, size_px: int, samples: Iterable[tuple[System, Stream]]
) -> Iterator[tuple[Image, Drawn]]:
    """Draw the weights and the viewpoints of images, and make them, four side by side; none depends on another.

    Raises
    ------
    InputError
        None of 1,000 weighted systems stays finite, which only an imported category can do.
    """
    games, left = Games(params.points), iter(samples)
    while few := list(itertools.islice(left, CHAINS)):
        yield from _render_few(params, size_px, games, few)


def render(params: Params, size_px: int, system: System, stream: Stream) -> tuple[Image, Drawn]:
    """Draw the weight and the viewpoint of the image that `stream` names, and make it: see `render_each`."""
    return next(render_each(params, size_px, [(system, stream)]))
