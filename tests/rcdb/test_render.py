"""Images of RCDB: the polygons of a plain loop, drawn line by line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from fdsl.primitives.streams import TRAIN, Stream, domain
from rcdb.categories import DOMAIN, Shape, sample, unpack
from rcdb.params import LABELS, Params
from rcdb.render import _BREAKS, _GREYS, _NOISE, Image, Variant, render_each
from tests import line_pixels, misfit, paint
from tests.rcdb.test_kernels import plain_contours

OPEN = Shape(None, None, None, None, None, None, None)
"""A category without parameters: all are drawn per image."""


@cache
def shapes() -> Sequence[Shape]:
    """Return a few categories of the default label."""
    return unpack(Params(), sample(Params(), 0, range(6)))


def stream_of(instance: int, category: int = 0) -> Stream:
    """Return the random numbers of an image."""
    return Stream(0, domain(DOMAIN, TRAIN), category, instance)


def render(params: Params, size_px: int, shape: Shape, stream: Stream) -> tuple[Image, Variant]:
    """Return one image and its variant."""
    return next(render_each(params, size_px, [(shape, stream)]))


def plain_image(params: Params, size: int, stream: Stream, variant: Variant) -> Image:
    """Return the image of a variant, drawn contour by contour, edge by edge, pixel by pixel."""
    n_edges = variant.contours * variant.vertices
    words = stream.words(_NOISE, 2 * n_edges).reshape(variant.contours, variant.vertices, 2)
    start = variant.radius * variant.aspect_x, variant.radius * variant.aspect_y
    centre = variant.centre_x, variant.centre_y
    greys = [min(word * 257 // 2**32, 255) for word in stream.words(_GREYS, variant.contours).tolist()]
    chances = iter(stream.uniforms(_BREAKS, n_edges).tolist())
    image = np.full((size, size), 255, dtype=np.uint8)
    polygons = plain_contours(words, start, variant.perlin, variant.gap, centre, size / 512)
    for polygon, grey in zip(polygons, greys, strict=True):
        for vertex, following in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            if next(chances) >= params.broken:
                paint(line_pixels(*vertex, *following), grey, image)
    return image


@pytest.mark.parametrize("broken", [0.0, 0.3])
@pytest.mark.parametrize("size", [64, 224, 512])
def test_image_matches_the_plain_loop(size: int, broken: float) -> None:
    params = Params(vertices=(3, 30), contours=(1, 12), broken=broken)
    for instance in range(4):
        image, variant = render(params, size, OPEN, stream_of(instance))
        assert image.shape == (size, size)
        assert image.dtype == np.uint8
        assert np.array_equal(image, plain_image(params, size, stream_of(instance), variant))


@pytest.mark.parametrize("k", range(1, len(LABELS) + 1))
def test_images_of_a_category_share_only_the_label(k: int) -> None:
    params = Params(label=LABELS[:k])
    few = unpack(params, sample(params, 0, range(3)))
    for category, shape in enumerate(few):
        variants = [render(params, 16, shape, stream_of(instance, category))[1] for instance in range(30)]
        for field in Variant._fields:
            values = {getattr(variant, field) for variant in variants}
            if field.removesuffix("_x").removesuffix("_y") in params.label:
                assert values == {getattr(shape, field)}
            else:
                assert len(values) > 10
    for field in Shape._fields:
        assert len({getattr(shape, field) for shape in few}) == (3 if getattr(few[0], field) is not None else 1)


def test_zero_in_a_label_is_a_value() -> None:
    zeros = Shape(vertices=3, contours=1, perlin=0.0, gap=0.0, radius=0, aspect_x=0.0, aspect_y=0.0)
    variant = render(Params(label=LABELS), 16, zeros, stream_of(0))[1]
    assert variant[: len(zeros)] == zeros


DOTS = Params(vertices=(3, 3), contours=(1, 1))
"""The fastest images to draw."""


def variant_columns(n: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return the parameters of n images of an open category, by name."""
    variants = np.array([render(DOTS, 16, OPEN, stream_of(instance))[1] for instance in range(n)])
    return dict(zip(Variant._fields, variants.T, strict=True))


def test_drawn_parameters_are_uniform() -> None:
    n = 9000
    values = variant_columns(n)
    radius = np.bincount(values["radius"].astype(int))
    assert len(radius) == 101
    assert abs(misfit(radius, [1.0] * 101)) < 4
    for field in ("aspect_x", "aspect_y"):
        assert abs(misfit(np.histogram(values[field], bins=50, range=(1, 2))[0], [1.0] * 50)) < 4
    for field in ("centre_x", "centre_y"):
        centre = 2 * values[field] - 512
        assert np.array_equal(centre, np.rint(centre))
        counts = np.bincount((centre + 400).astype(int), minlength=801)
        assert len(counts) == 801
        assert counts[0] > 0 < counts[-1]
        assert abs(misfit(counts, [1.0] * 801)) < 4
    varying = np.array([values[field] for field in ("radius", "aspect_x", "aspect_y", "centre_x", "centre_y")])
    assert np.abs(np.corrcoef(varying) - np.eye(5)).max() < 0.04


def test_greys_are_uniform_and_clipped() -> None:
    inside = Params(vertices=(3, 3), contours=(1, 1), radius=(100, 100), centre=(0, 0))
    counts = np.zeros(256, dtype=int)
    for instance in range(6000):
        counts[render(inside, 16, OPEN, stream_of(instance))[0].min()] += 1
    assert counts.min() > 0
    assert abs(misfit(counts, [1.0] * 255 + [2.0])) < 4


def test_greys_do_not_depend_on_the_size() -> None:
    rings = Params(
        vertices=(100, 100), contours=(8, 8), radius=(20, 20), aspect=(1, 1), centre=(0, 0), perlin=(0, 0), gap=(20, 20)
    )
    images = [render(rings, size, OPEN, stream_of(5))[0] for size in (256, 512, 1024)]
    greys = [set(np.unique(image)) for image in images]
    assert greys[0] == greys[1] == greys[2]
    assert len(greys[0]) == 9


def test_larger_image_shows_the_same_lines() -> None:
    for category, shape in enumerate(shapes()):
        small, large = (render(Params(), size, shape, stream_of(2, category))[0] < 255 for size in (512, 1024))
        shrunk = large.reshape(512, 2, 512, 2).any(axis=(1, 3))
        padded = [np.pad(mask, 1) for mask in (small, shrunk)]
        near = [
            np.any([mask[1 + y : 513 + y, 1 + x : 513 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0)
            for mask in padded
        ]
        assert small.any()
        assert near[1][small].mean() > 0.99
        assert near[0][shrunk].mean() > 0.99


def test_breaking_all_edges_leaves_white() -> None:
    for category, shape in enumerate(shapes()):
        stream = stream_of(1, category)
        whole, variant = render(Params(broken=0), 512, shape, stream)
        nothing, broken_variant = render(Params(broken=1), 512, shape, stream)
        assert variant == broken_variant
        assert (whole < 255).any()
        assert (nothing == 255).all()


def test_more_breaks_only_remove_edges() -> None:
    """With one contour no line hides another, so each step keeps a part of the earlier lines."""
    shares = [0.0, 0.1, 0.3, 0.5, 0.8, 1.0]
    single = {"contours": (1, 1), "vertices": (20, 20), "radius": (100, 100), "centre": (0, 0)}
    left = np.zeros(len(shares))
    for instance in range(100):
        steps = [render(Params(**single, broken=share), 512, OPEN, stream_of(instance)) for share in shares]
        assert len({variant for _, variant in steps}) == 1
        for (before, _), (after, _) in pairwise(steps):
            assert ((after == before) | (after == 255)).all()
        left += [np.count_nonzero(image < 255) for image, _ in steps]
    assert np.abs(left / left[0] - (1.0 - np.array(shares))).max() < 0.03


def test_broken_contours_reveal_only_hidden_lines() -> None:
    """A visible pixel of a broken image was drawn in the whole one, where another contour may hide it.

    A white contour hides others and cannot be seen, so images with one are skipped.
    """
    n_compared = 0
    for instance in range(12):
        stream = stream_of(instance)
        whole, variant = render(Params(contours=(20, 20)), 512, OPEN, stream)
        broken, _ = render(Params(contours=(20, 20), broken=0.4), 512, OPEN, stream)
        if (stream.words(_GREYS, variant.contours) >= 255 * 2**32 // 257).any():
            continue
        n_compared += 1
        assert not ((broken < 255) & (whole == 255)).any()
        assert 0 < np.count_nonzero(broken < 255) < np.count_nonzero(whole < 255)
        assert np.count_nonzero((broken != whole) & (broken < 255)) > 0
    assert n_compared > 5
