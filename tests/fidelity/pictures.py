"""Our pictures, compared with those of the transcriptions.

With our random numbers, a transcription's picture is ours, pixel for pixel. With others, a fractal has other points, and is
compared by what one sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measures import Agreement, agreement_of
from tests.fidelity import contours, fractals, ours
from tests.fidelity.ours import Image

Pairs = dict[str, list[tuple[float, float]]]
"""Of each quantity, (ours, transcription) per image."""


class Equality(NamedTuple):
    """How many of n are equal to the last bit."""

    n: int
    n_equal: int


def equality(pairs: Iterable[tuple[Image, Image]]) -> Equality:
    """Count the images that are equal in every pixel."""
    equal = [np.array_equal(image, other) for image, other in pairs]
    return Equality(len(equal), sum(equal))


class Fractals(NamedTuple):
    """Four pictures of one weighted system from one viewpoint.

    Attributes
    ----------
    ours : our image
    same : transcription, with our random numbers
    other, another : transcription, with random numbers of its own
    """

    ours: Image
    same: Image
    other: Image
    another: Image


def draw_fractals(n_categories: int, n_instances: int, **others: Any) -> Iterator[Fractals]:
    """Yield pictures of ExFractalDB.

    Omits a system that diverges with other random numbers.
    """
    rng = np.random.default_rng(0)
    for image, variant, maps, uniforms in ours.fractals(ours.dataset("exfractal", n_categories, n_instances, **others)):
        draws = uniforms, rng.random(fractals.N_POINTS), rng.random(fractals.N_POINTS)
        drawn = [fractals.draw_image(maps, variant.coefficient, variant.factor, variant[3:], own) for own in draws]
        if len(pictures := [picture for picture in drawn if picture is not None]) == len(draws):
            yield Fractals(image, *pictures)


def draw_contours(n_categories: int, n_instances: int) -> Iterator[tuple[Image, Image]]:
    """Yield images of RCDB: ours, and the transcription's.

    Both have our random numbers.
    """
    for image, *draws in ours.contours(ours.dataset("rcdb", n_categories, n_instances)):
        yield image, contours.draw_image(*draws)


def features(image: Image) -> dict[str, float]:
    """Return fill rate, centroid and extent of the white pixels."""
    rows, columns = np.nonzero(image)
    return {
        "fill rate, %": 100.0 * len(rows) / image.size,
        "centroid x, px": columns.mean(),
        "centroid y, px": rows.mean(),
        "extent x, px": np.ptp(columns) + 1.0,
        "extent y, px": np.ptp(rows) + 1.0,
    }


def coverage(image: Image, other: Image) -> float:
    """Return how much of an image the other covers, %.

    A white pixel is covered if one of the other's is within 1 px.
    """
    size, near = len(image), np.zeros(image.shape, dtype=bool)
    padded = np.pad(other > 0, 1)
    for row in range(3):
        for column in range(3):
            near |= padded[row : row + size, column : column + size]
    return 100.0 * float(near[image > 0].mean())


def compare_fractals(pictures: Iterable[Fractals]) -> tuple[Equality, Pairs]:
    """Compare pictures of ExFractalDB.

    With our random numbers they should be equal, with others alike. One picture of the transcription covers ours and
    another of its own.
    """
    same, pairs = [], Pairs()
    for picture in pictures:
        same.append((picture.ours, picture.same))
        mine, theirs = features(picture.ours), features(picture.other)
        mine["coverage, %"] = coverage(picture.ours, picture.another)
        theirs["coverage, %"] = coverage(picture.other, picture.another)
        for quantity in mine:
            pairs.setdefault(quantity, []).append((mine[quantity], theirs[quantity]))
    return equality(same), pairs


def agreements(pairs: Pairs) -> list[Agreement]:
    """Return how well both sides agree in each quantity."""
    return list(starmap(agreement_of, pairs.items()))
