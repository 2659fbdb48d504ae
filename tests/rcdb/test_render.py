"""An image of RCDB is a function of its name alone: the polygons of the plain loop, drawn line by line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from primitives.streams import TRAIN, VALIDATION, Stream, domain
from rcdb.categories import DOMAIN, Shape, sample, unpack
from rcdb.params import LABELS, Params
from rcdb.render import _BREAKS, _GREYS, _NOISE, DRAWN_SCHEMA, Drawn, Image, make, render
from tests import line_pixels, misfit, paint
from tests.rcdb.test_kernels import plain_contours

OPEN = Shape(None, None, None, None, None, None, None)
"""A category whose every parameter is drawn per image."""


@cache
def shapes() -> Sequence[Shape]:
    """Return a few categories of the default label."""
    return unpack(Params(), sample(Params(), 0, range(6)))


def name(instance: int, category: int = 0, role: int = TRAIN) -> Stream:
    """Return the stream of an image."""
    return Stream(0, domain(DOMAIN, role), category, instance)


def plain_image(params: Params, size: int, stream: Stream, drawn: Drawn) -> Image:
    """Return the image of what was drawn: contour by contour, edge by edge, pixel by pixel."""
    n_edges = drawn.contours * drawn.vertices
    words = stream.words(_NOISE, 2 * n_edges).reshape(drawn.contours, drawn.vertices, 2)
    start = drawn.radius * drawn.aspect_x, drawn.radius * drawn.aspect_y
    centre = drawn.centre_x, drawn.centre_y
    greys = [min(word * 257 // 2**32, 255) for word in stream.words(_GREYS, drawn.contours).tolist()]
    luck = iter(stream.uniforms(_BREAKS, n_edges).tolist())
    image = np.full((size, size), 255, dtype=np.uint8)
    polygons = plain_contours(words, start, drawn.perlin, drawn.gap, centre, size / 512)
    for polygon, grey in zip(polygons, greys, strict=True):
        for vertex, following in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            if next(luck) >= params.broken:
                paint(line_pixels(*vertex, *following), grey, image)
    return image


@pytest.mark.parametrize("broken", [0.0, 0.3])
@pytest.mark.parametrize("size", [64, 224, 512])
def test_an_image_is_the_plain_loops(size: int, broken: float) -> None:
    params = Params(vertices=(3, 30), contours=(1, 12), broken=broken)
    for instance in range(4):
        image, drawn = render(params, size, OPEN, name(instance))
        assert image.shape == (size, size)
        assert image.dtype == np.uint8
        assert np.array_equal(image, plain_image(params, size, name(instance), drawn))


@pytest.mark.parametrize("params", [Params(), Params(broken=0.3)], ids=["whole", "broken"])
@pytest.mark.parametrize("size", [16, 512])
def test_what_was_drawn_makes_the_same_image_again(params: Params, size: int) -> None:
    for category, shape in enumerate(shapes()):
        stream = name(9, category)
        image, drawn = render(params, size, shape, stream)
        stored = pa.Table.from_pylist([drawn._asdict()], schema=DRAWN_SCHEMA).to_pylist()[0]
        assert np.array_equal(make(params, size, shape, stream, drawn), image)
        assert np.array_equal(make(params, size, shape, stream, Drawn(**stored)), image)


def test_what_is_drawn_has_a_column_each() -> None:
    assert DRAWN_SCHEMA.names == list(Drawn._fields)


def test_an_image_does_not_depend_on_what_was_rendered_before() -> None:
    names = [(category, instance) for category in range(len(shapes())) for instance in range(3)]
    forward = {key: render(Params(), 64, shapes()[key[0]], name(key[1], key[0]))[0] for key in names}
    backward = {key: render(Params(), 64, shapes()[key[0]], name(key[1], key[0]))[0] for key in reversed(names)}
    assert all(np.array_equal(forward[key], backward[key]) for key in names)
    assert len({image.tobytes() for image in forward.values()}) == len(names)


def test_every_part_of_an_images_name_changes_it() -> None:
    streams = [name(3), name(4), name(3, 1), name(3, 0, VALIDATION), name(3)._replace(seed=1)]
    assert len({render(Params(), 64, shapes()[0], stream)[0].tobytes() for stream in streams}) == len(streams)


@pytest.mark.parametrize("k", range(1, len(LABELS) + 1))
def test_a_categorys_images_share_the_label_and_nothing_else(k: int) -> None:
    params = Params(label=LABELS[:k])
    few = unpack(params, sample(params, 0, range(3)))
    for category, shape in enumerate(few):
        drawn = [render(params, 16, shape, name(instance, category))[1] for instance in range(30)]
        for field in Drawn._fields:
            values = {getattr(one, field) for one in drawn}
            if field.removesuffix("_x").removesuffix("_y") in params.label:
                assert values == {getattr(shape, field)}
            else:
                assert len(values) > 10
    for field in Shape._fields:
        assert len({getattr(shape, field) for shape in few}) == (3 if getattr(few[0], field) is not None else 1)


def test_a_zero_in_a_label_is_a_value_and_not_a_gap_to_fill() -> None:
    zeros = Shape(vertices=3, contours=1, perlin=0.0, gap=0.0, radius=0, aspect_x=0.0, aspect_y=0.0)
    drawn = render(Params(label=LABELS), 16, zeros, name(0))[1]
    assert drawn[: len(zeros)] == zeros


DOTS = Params(vertices=(3, 3), contours=(1, 1))
"""As quick to draw as can be."""


def drawn_values(n: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return what is drawn for n images of a category that leaves all open, by name."""
    drawn = np.array([render(DOTS, 16, OPEN, name(instance))[1] for instance in range(n)])
    return dict(zip(Drawn._fields, drawn.T, strict=True))


def test_radius_aspect_and_centre_have_the_published_distributions() -> None:
    n = 9000
    values = drawn_values(n)
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


def test_greys_are_uniform_from_0_to_256_and_256_is_clipped_to_255() -> None:
    inside = Params(vertices=(3, 3), contours=(1, 1), radius=(100, 100), centre=(0, 0))
    counts = np.zeros(256, dtype=int)
    for instance in range(6000):
        counts[render(inside, 16, OPEN, name(instance))[0].min()] += 1
    assert counts.min() > 0
    assert abs(misfit(counts, [1.0] * 255 + [2.0])) < 4


def test_each_contour_has_a_grey_of_its_own_whatever_the_size() -> None:
    rings = Params(
        vertices=(100, 100), contours=(8, 8), radius=(20, 20), aspect=(1, 1), centre=(0, 0), perlin=(0, 0), gap=(20, 20)
    )
    images = [render(rings, size, OPEN, name(5))[0] for size in (256, 512, 1024)]
    greys = [set(np.unique(image)) for image in images]
    assert greys[0] == greys[1] == greys[2]
    assert len(greys[0]) == 9


def test_an_image_twice_as_large_shows_the_same_lines() -> None:
    for category, shape in enumerate(shapes()):
        small, large = (render(Params(), size, shape, name(2, category))[0] < 255 for size in (512, 1024))
        shrunk = large.reshape(512, 2, 512, 2).any(axis=(1, 3))
        padded = [np.pad(mask, 1) for mask in (small, shrunk)]
        near = [
            np.any([mask[1 + y : 513 + y, 1 + x : 513 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0)
            for mask in padded
        ]
        assert small.any()
        assert near[1][small].mean() > 0.99
        assert near[0][shrunk].mean() > 0.99


def test_without_breaks_every_polygon_is_closed_and_with_all_of_them_the_image_is_white() -> None:
    for category, shape in enumerate(shapes()):
        stream = name(1, category)
        whole, drawn = render(Params(broken=0), 512, shape, stream)
        nothing, same = render(Params(broken=1), 512, shape, stream)
        assert drawn == same
        assert (whole < 255).any()
        assert (nothing == 255).all()


def test_more_breaks_take_edges_away_and_leave_the_rest_as_it_is() -> None:
    """Of one contour, so that no line hides another: each step's lines are some of the step's before."""
    shares = [0.0, 0.1, 0.3, 0.5, 0.8, 1.0]
    one = {"contours": (1, 1), "vertices": (20, 20), "radius": (100, 100), "centre": (0, 0)}
    left = np.zeros(len(shares))
    for instance in range(100):
        steps = [render(Params(**one, broken=share), 512, OPEN, name(instance)) for share in shares]
        assert len({drawn for _, drawn in steps}) == 1
        for (before, _), (after, _) in pairwise(steps):
            assert ((after == before) | (after == 255)).all()
        left += [np.count_nonzero(image < 255) for image, _ in steps]
    assert np.abs(left / left[0] - (1.0 - np.array(shares))).max() < 0.03


def test_broken_contours_show_what_they_hid_and_nothing_new() -> None:
    """What shows in a broken image is drawn in the whole one too, though another contour may hide it there.

    A contour as white as the ground hides others without showing, so images with one are left out.
    """
    n_compared = 0
    for instance in range(12):
        stream = name(instance)
        whole, drawn = render(Params(contours=(20, 20)), 512, OPEN, stream)
        broken, _ = render(Params(contours=(20, 20), broken=0.4), 512, OPEN, stream)
        if (stream.words(_GREYS, drawn.contours) >= 255 * 2**32 // 257).any():
            continue
        n_compared += 1
        assert not ((broken < 255) & (whole == 255)).any()
        assert 0 < np.count_nonzero(broken < 255) < np.count_nonzero(whole < 255)
        assert np.count_nonzero((broken != whole) & (broken < 255)) > 0
    assert n_compared > 5
