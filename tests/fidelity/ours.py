"""Our images, and the random numbers that they were drawn with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from exfractal.render import Variant as FractalVariant
from exfractal.render import _object_lanes
from fdsl import Dataset, parse_spec, search_categories
from fdsl.primitives.streams import Stream
from rcdb.render import _GREYS, _NOISE
from rcdb.render import Variant as ContourVariant
from tests.fidelity.fractals import N_POINTS

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


class Fractal(NamedTuple):
    """An image of ExFractalDB.

    Attributes
    ----------
    maps : float64 (maps, 12); from the categories table
    uniforms : float64 (10,000,), 0..1; chose the maps
    """

    image: Image
    variant: FractalVariant
    maps: Floats
    uniforms: Floats


class Contours(NamedTuple):
    """An image of RCDB.

    Attributes
    ----------
    positions : float64 (contours, vertices, 2), 0 .. 10,000; of the noise
    greys : 0..255 per contour
    """

    image: Image
    variant: ContourVariant
    positions: Floats
    greys: list[int]


def dataset(family: str, n_categories: int, n_instances: int, **others: Any) -> Dataset:
    """Return a small dataset.

    Its parameters are the published ones, except for `others`.
    """
    mapping = {"name": "fidelity", "family": family, "categories": n_categories, "instances": {"train": n_instances}}
    spec = parse_spec({**mapping, **others})
    return Dataset(spec, search_categories(spec).table)


def names(data: Dataset) -> list[tuple[int, int]]:
    """Return (category, instance) of each train image."""
    spec = data.spec
    return [(category, k) for category in range(spec.categories) for k in range(spec.instances.train)]


def greys(stream: Stream, n_contours: int) -> list[int]:
    """Return the grey of each contour, 0..255.

    A whole number in 0..256, clipped.
    """
    return [min(int(257.0 * u), 255) for u in stream.uniforms(_GREYS, n_contours).tolist()]


def fractals(data: Dataset) -> Iterator[Fractal]:
    """Yield the images of a dataset of ExFractalDB."""
    maps = [np.array(row) for row in data.table.column("maps").to_pylist()]
    for name, (image, variant) in zip(names(data), data.images(names(data)), strict=True):
        words = data.stream(*name).words(_object_lanes(variant.redraws)[1], N_POINTS)
        yield Fractal(image, variant, maps[name[0]], (words + 0.5) / 2.0**32)


def contours(data: Dataset) -> Iterator[Contours]:
    """Yield the images of a dataset of RCDB."""
    for name, (image, variant) in zip(names(data), data.images(names(data)), strict=True):
        shape, stream = (variant.contours, variant.vertices, 2), data.stream(*name)
        positions = 10_000.0 * stream.uniforms(_NOISE, int(np.prod(shape))).reshape(shape)
        yield Contours(image, variant, positions, greys(stream, variant.contours))
