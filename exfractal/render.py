"""Images of ExFractalDB: weighted systems, seen from random viewpoints."""

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
from exfractal.chaos_plain import CHAINS
from exfractal.params import N_VIEWS, Params
from fdsl.primitives.circle import cos_sin
from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import Stream, below

Image = npt.NDArray[np.uint8]
Quaternion = tuple[float, float, float, float]
"""(w, x, y, z) of length 1."""

SIZE_PX = 224
BIT_DEPTH = 1
"""Points are white on black."""

BACKGROUND = 0

CAMERA_DISTANCE = 4.0
FOCAL_LENGTH = 1.0 + math.sqrt(2.0)
"""cot(45 degrees / 2), for a field of view of 45 degrees."""

_VIEW = 0
_MAX_REDRAWS = 1000


def _object_lanes(redraws: int) -> tuple[int, int]:
    """Return the lanes of weight and points after some redraws."""
    return 1 + 2 * redraws, 2 + 2 * redraws


class Variant(NamedTuple):
    """Numbers drawn for one image.

    Attributes
    ----------
    redraws : 0..999; weights and point sequences that were discarded because they diverge
    coefficient : 0..11; the coefficient that is scaled in every map; -1 is none
    factor : 0.4 .. 1.6
    qw, qx, qy, qz : -1..1; the viewpoint, a unit quaternion that turns the attractor into the camera's frame
    """

    redraws: int
    coefficient: int
    factor: float
    qw: float
    qx: float
    qy: float
    qz: float


VARIANT_SCHEMA = pa.schema(
    [
        ("redraws", pa.int16()),
        ("coefficient", pa.int8()),
        ("factor", pa.float64()),
        *((name, pa.float64()) for name in ("qw", "qx", "qy", "qz")),
    ]
)
UNITS: dict[str, str] = {}


def _object_stream(params: Params, stream: Stream) -> Stream:
    """Return the stream of an image's weight and points.

    All views of a ring share that of the first one.
    """
    if params.viewpoint == "random":
        return stream
    return stream._replace(instance=stream.instance - stream.instance % N_VIEWS)


def _draw_weight(params: Params, stream: Stream, redraws: int) -> tuple[int, float]:
    """Return one row of the weight table as (coefficient, factor).

    With `each`, the instance decides the row, except after a redraw. The published table has the row without a factor between
    those of the first coefficient, where its factor 1 is.
    """
    if params.weights == "each" and redraws == 0:
        views = N_VIEWS if params.viewpoint == "ring" else 1
        row, middle = stream.instance // views % params.n_weights, len(params.factors) // 2
        row = 0 if row == middle else row + (row < middle)
    else:
        row = below(stream.words(_object_lanes(redraws)[0], 1)[0], params.n_weights)
    if row == 0:
        return -1, 1.0
    coefficient, factor_number = divmod(row - 1, len(params.factors))
    return coefficient, params.factors[factor_number]


def _draw_rotation(params: Params, stream: Stream) -> Quaternion:
    """Draw a unit quaternion, uniform over all rotations.

    Uses two points in the unit disc and plain arithmetic.

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
    """Draw the rotation of a ring's view.

    View f turns the attractor by 60 - 30 f degrees around the vertical axis, plus jitter. The published code moves the camera
    instead, with the same result.
    """
    jitter = 2.0 * float(stream.uniforms(_VIEW, 1)[0]) - 1.0
    yaw_rad = math.radians(30.0 * (2 - stream.instance % N_VIEWS) + jitter * params.jitter_deg)
    cosine, sine = cos_sin(yaw_rad / 2.0)
    return cosine, 0.0, sine, 0.0


def weighted(system: System, coefficient: int, factor: float) -> System:
    """Return a system with one coefficient scaled in every map.

    The probabilities of the maps do not change.

    Parameters
    ----------
    coefficient : 0..11; -1 is none
    """
    if coefficient < 0:
        return system
    maps = system.maps.copy()
    maps[:, coefficient] *= factor
    return System(maps, system.thresholds)


def project(cloud: Cloud, quaternion: Quaternion, size_px: int) -> Image:
    """Return the image of a point cloud.

    The cloud is normalised to [-1, 1], centred, rotated and projected.

    Returns
    -------
    uint8 (size_px, size_px), 0 or 255
    """
    transform = kernels.camera(cloud.low, cloud.high, cloud.mean, quaternion)
    image = np.zeros((size_px, size_px), dtype=np.uint8)
    kernels.plot(cloud.points, transform, CAMERA_DISTANCE, FOCAL_LENGTH, image)
    return image


def turn(params: Params, size_px: int, system: System, stream: Stream, n_frames: int) -> Iterator[Image]:
    """Yield an image, turned once around its vertical axis.

    The first frame is the image itself. Frame k shows the attractor turned by 360 k / n_frames degrees.

    Yields
    ------
    uint8 (size_px, size_px), 0 or 255

    Raises
    ------
    InputError
        See `render_each`.
    """
    _, variant = next(render_each(params, size_px, [(system, stream)]))
    words = _object_stream(params, stream).words(_object_lanes(variant.redraws)[1], params.points)
    (cloud,) = Games(params.points).play([weighted(system, variant.coefficient, variant.factor)], [words])
    assert cloud is not None  # it was rendered just now
    for k in range(n_frames):
        yaw = cos_sin(math.pi * k / n_frames)
        yield project(cloud, _turned(yaw, (variant.qw, variant.qx, variant.qy, variant.qz)), size_px)


def _turned(yaw: tuple[float, float], view: Quaternion) -> Quaternion:
    """Return a viewpoint, turned around the camera's vertical axis.

    Parameters
    ----------
    yaw : cosine and sine of half the angle
    """
    (cosine, sine), (w, x, y, z) = yaw, view
    return cosine * w - sine * y, cosine * x + sine * z, cosine * y + sine * w, cosine * z - sine * x


def compile_kernels() -> None:
    """Compile every kernel, or load it from numba's cache.

    Renders a small image.
    """
    params = Params(points=100)
    halves = np.tile(np.eye(3, 4).reshape(1, -1) * 0.5, (2, 1))
    halves[1, 9:] = 1.0
    accepts(params, 0, 0, Candidate(halves, np.array([0.5, 0.5])))
    sample(params, 0, range(1))
    next(render_each(params, 16, [(System(halves, thresholds((0.5, 0.5))), Stream(0, 0, 0, 0))]))


def _render_few(
    params: Params, size_px: int, games: Games, samples: Sequence[tuple[System, Stream]]
) -> list[tuple[Image, Variant]]:
    """Return the images of up to four samples.

    If a weighted system diverges, its weight and points are drawn again.
    """
    draw_view = _draw_ring_view if params.viewpoint == "ring" else _draw_rotation
    images: dict[int, tuple[Image, Variant]] = {}
    sources = [_object_stream(params, stream) for _, stream in samples]
    for redraws in range(_MAX_REDRAWS):
        missing = [k for k in range(len(samples)) if k not in images]
        if not missing:
            break
        points_lane = _object_lanes(redraws)[1]
        weights = [_draw_weight(params, sources[k], redraws) for k in missing]
        systems = [weighted(samples[k][0], *weight) for k, weight in zip(missing, weights, strict=True)]
        clouds = games.play(systems, [sources[k].words(points_lane, params.points) for k in missing])
        for k, weight, cloud in zip(missing, weights, clouds, strict=True):
            if cloud is not None:
                quaternion = draw_view(params, samples[k][1])
                images[k] = project(cloud, quaternion, size_px), Variant(redraws, *weight, *quaternion)
    if len(images) < len(samples):
        category = next(stream.category for k, (_, stream) in enumerate(samples) if k not in images)
        raise InputError(f"category {category}: {_MAX_REDRAWS} weighted systems diverge; replace it in the table")
    return [images[k] for k in range(len(samples))]


def render_each(
    params: Params, size_px: int, samples: Iterable[tuple[System, Stream]]
) -> Iterator[tuple[Image, Variant]]:
    """Yield the image and variant of each sample.

    Renders four side by side. No image depends on another.

    Yields
    ------
    image : uint8 (size_px, size_px), 0 or 255
    variant : Variant

    Raises
    ------
    InputError
        1,000 weighted systems in a row diverge, which only an imported category can do.
    """
    games, remaining = Games(params.points), iter(samples)
    while few := list(itertools.islice(remaining, CHAINS)):
        yield from _render_few(params, size_px, games, few)
