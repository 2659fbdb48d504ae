"""An image of ExFractalDB is a function of its name alone: the weighted attractor through a pinhole camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from exfractal.attractors import Cloud, Games, System
from exfractal.categories import DOMAIN, sample, unpack
from exfractal.params import Params
from exfractal.render import DRAWN_SCHEMA, Drawn, Image, _object_lanes, make, project, render, render_each, weighted
from primitives.fields import InputError
from primitives.streams import TRAIN, VALIDATION, Stream, domain
from tests import chaos_game, misfit

RANDOM, RING = Params(), Params(viewpoint="ring")
FEW = Params(points=100)


@cache
def systems() -> Sequence[System]:
    """Return some categories as the search finds them."""
    return unpack(RANDOM, sample(RANDOM, 0, range(300)))


def name(instance: int, category: int = 0, role: int = TRAIN) -> Stream:
    """Return the stream of an image."""
    return Stream(0, domain(DOMAIN, role), category, instance)


def system(diagonal: float, off_diagonal: float, n_maps: int = 2) -> System:
    """Return a system whose maps differ in their translations only."""
    matrix = np.full((3, 3), off_diagonal) + np.eye(3) * (diagonal - off_diagonal)
    maps = [[*matrix.ravel(), k + 1.0, 2.0 - 3.0 * k, 0.5 * k - 1.0] for k in range(n_maps)]
    return System(np.array(maps), (np.arange(1, n_maps) * (2**32 // n_maps)).astype(np.uint32))


CONTRACTION = system(0.3, 0.1)
"""Stays finite under any weight."""
ON_THE_EDGE = system(0.99, 0.0)
"""Diverges if a coefficient of the diagonal is scaled up, and only then."""
HOPELESS = system(1e30, 0.0)
"""Diverges under any weight."""


def cloud(of: System, words: npt.NDArray[np.uint32], coefficient: int, factor: float) -> Cloud | None:
    """Return the points of a weighted system."""
    (made,) = Games(len(words)).play([weighted(of, coefficient, factor)], [words])
    return made


def play(maps: npt.NDArray[np.float64], choices: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the points, (points, 3), of a plain chaos game."""
    return np.array(chaos_game(maps.tolist(), choices.tolist()))


def rotate(points: npt.NDArray[np.float64], quaternion: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return q p q* for each point p: float64 (points, 3)."""
    w, v = quaternion[0], np.array(quaternion[1:])
    scalar, vector = -points @ v, w * points + np.cross(v, points)  # q p
    turned: npt.NDArray[np.float64] = -scalar[:, None] * v + w * vector - np.cross(vector, v)  # times q*
    return turned


def assert_is_seen(image: Image, points: npt.NDArray[np.float64], quaternion: Sequence[float]) -> None:
    """Check an image against a pinhole camera, but for points within 1e-9 px of a pixel's border."""
    size = image.shape[0]
    normalised = 2.0 * (points - points.min()) / (points.max() - points.min()) - 1.0
    x, y, z = rotate(normalised - normalised.mean(axis=0), quaternion).T
    half_height = (4.0 - z) * math.tan(math.radians(45.0) / 2.0)
    column, row = (1.0 + x / half_height) / 2.0 * size, (1.0 - y / half_height) / 2.0 * size
    doubtful = (np.abs(column - np.rint(column)) < 1e-9) | (np.abs(row - np.rint(row)) < 1e-9)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    assert doubtful.sum() < 5
    assert inside.any()
    expected = np.zeros_like(image)
    certain = inside & ~doubtful
    expected[np.floor(row[certain]).astype(int), np.floor(column[certain]).astype(int)] = 255
    assert ((image == expected) | (image == 255)).all()
    assert np.count_nonzero(image != expected) <= doubtful.sum()


QUATERNIONS = [(1.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.5, 0.5), (0.5, -0.5, 0.5, -0.5), (0.8, 0.36, -0.48, 0.0)]


@pytest.mark.parametrize(
    "quaternion", [*QUATERNIONS, (0.1, -0.7, -0.1, 0.7), (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0)]
)
@pytest.mark.parametrize("size", [64, 224])
def test_a_cloud_is_normalised_centred_turned_and_projected(quaternion: tuple[float, ...], size: int) -> None:
    made = cloud(systems()[0], name(0).words(9, 5000), -1, 1.0)
    assert made is not None
    image = project(made, quaternion, size)  # type: ignore[arg-type]
    assert_is_seen(image, made.points.T, quaternion)


@pytest.mark.parametrize("params", [RANDOM, RING], ids=["random", "ring"])
@pytest.mark.parametrize(("category", "instance"), [(0, 0), (0, 13), (1, 5), (2, 999)])
def test_an_image_is_the_weighted_attractor_seen_from_its_viewpoint(
    params: Params, category: int, instance: int
) -> None:
    stream, of = name(instance, category), systems()[category]
    image, drawn = render(params, 224, of, stream)
    assert image.shape == (224, 224)
    assert image.dtype == np.uint8
    assert set(np.unique(image)) == {0, 255}
    maps = of.maps.copy()
    if drawn.coefficient >= 0:
        maps[:, drawn.coefficient] *= drawn.factor
    source = stream if params is RANDOM else name(instance // 12 * 12, category)
    words = source.words(_object_lanes(drawn.redraws)[1], params.points)
    points = play(maps, np.searchsorted(of.thresholds, words, side="right"))
    assert_is_seen(image, points, drawn[3:])


@pytest.mark.parametrize("coefficient", range(-1, 12))
def test_a_weight_scales_its_coefficient_in_every_map_and_nothing_else(coefficient: int) -> None:
    words, before = name(0).words(9, 500), systems()[1].maps.copy()
    made = cloud(systems()[1], words, coefficient, 0.4)
    scaled = before * np.where(np.arange(12) == coefficient, 0.4, 1.0)
    assert made is not None
    expected = play(scaled, np.searchsorted(systems()[1].thresholds, words, side="right"))
    assert np.array_equal(made.points.T, expected)
    assert np.array_equal(systems()[1].maps, before)


@pytest.mark.parametrize("params", [FEW, Params(points=100, weight_range=0.2), Params(points=100, weight_range=0)])
def test_every_row_of_the_weight_table_is_drawn_equally_often(params: Params) -> None:
    rows = [(-1, 1.0), *((coefficient, factor) for coefficient in range(12) for factor in params.factors)]
    n = 15 * len(rows)
    drawn = [render(params, 16, CONTRACTION, name(instance))[1] for instance in range(n)]
    counts = [sum((one.coefficient, one.factor) == row for one in drawn) for row in rows]
    assert sum(counts) == n
    assert min(counts) > 0
    assert len(rows) == 1 or abs(misfit(counts, [1.0] * len(rows))) < 4
    assert {one.redraws for one in drawn} == {0}


def test_viewpoints_are_uniform_over_all_rotations() -> None:
    n = 4000
    quaternions = np.array([render(FEW, 16, CONTRACTION, name(instance))[1][3:] for instance in range(n)])
    assert np.abs((quaternions**2).sum(axis=1) - 1.0).max() < 1e-14
    moments = quaternions.T @ quaternions / n
    assert np.abs(moments - np.eye(4) / 4).max() < 0.02
    assert np.abs((quaternions**4).mean(axis=0) - 1 / 8).max() < 0.02
    for axis in np.eye(3):
        turned = np.concatenate([rotate(axis[None], quaternion) for quaternion in quaternions])
        assert np.abs(turned.mean(axis=0)).max() < 0.04
        assert np.abs((turned**2).mean(axis=0) - 1 / 3).max() < 0.02
        for coordinate in turned.T:  # Archimedes: each coordinate of a point of the sphere is uniform
            assert abs(misfit(np.histogram(coordinate, bins=40, range=(-1, 1))[0], [1.0] * 40)) < 4


@pytest.mark.parametrize("params", [RANDOM, RING, FEW], ids=["random", "ring", "few points"])
@pytest.mark.parametrize("size", [16, 224])
def test_what_was_drawn_makes_the_same_image_again(params: Params, size: int) -> None:
    for instance in (0, 1, 11, 12, 500):
        image, drawn = render(params, size, systems()[0], name(instance))
        stored = pa.Table.from_pylist([drawn._asdict()], schema=DRAWN_SCHEMA).to_pylist()[0]
        assert np.array_equal(make(params, size, systems()[0], name(instance), drawn), image)
        assert np.array_equal(make(params, size, systems()[0], name(instance), Drawn(**stored)), image)


def test_what_is_drawn_has_a_column_each() -> None:
    assert DRAWN_SCHEMA.names == list(Drawn._fields)


@pytest.mark.parametrize("params", [RANDOM, RING], ids=["random", "ring"])
def test_an_image_does_not_depend_on_what_was_rendered_before(params: Params) -> None:
    names = [(category, instance) for category in range(3) for instance in (0, 1, 12, 13)]
    forward = {key: render(params, 64, systems()[key[0]], name(key[1], key[0]))[0] for key in names}
    backward = {key: render(params, 64, systems()[key[0]], name(key[1], key[0]))[0] for key in reversed(names)}
    assert all(np.array_equal(forward[key], backward[key]) for key in names)
    assert len({image.tobytes() for image in forward.values()}) == len(names)


def test_every_part_of_an_images_name_changes_it() -> None:
    streams = [name(3), name(4), name(3, 1), name(3, 0, VALIDATION), name(3)._replace(seed=1)]
    assert len({render(RANDOM, 64, systems()[0], stream)[0].tobytes() for stream in streams}) == len(streams)


def test_a_larger_image_shows_the_same_points_finer() -> None:
    small, large = (render(RANDOM, size, systems()[2], name(8))[0] for size in (224, 448))
    assert np.array_equal(large.reshape(224, 2, 224, 2).max(axis=(1, 3)), small)


def test_a_hundred_points_are_enough_for_an_image() -> None:
    for instance in range(20):
        n_white = np.count_nonzero(render(FEW, 224, systems()[0], name(instance))[0])
        assert 2 <= n_white <= 100


def test_a_weighted_system_that_diverges_is_drawn_again() -> None:
    params, redraws = Params(points=10_000), []
    for instance in range(60):
        image, drawn = render(params, 32, ON_THE_EDGE, name(instance))
        assert drawn.coefficient not in (0, 4, 8) or drawn.factor < 1.0
        assert image.any()
        assert np.array_equal(make(params, 32, ON_THE_EDGE, name(instance), drawn), image)
        redraws.append(drawn.redraws)
    assert redraws.count(0) > 30
    assert max(redraws) >= 1


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 41])
def test_images_made_side_by_side_are_those_made_alone_and_in_order(n: int) -> None:
    of = [systems()[0], ON_THE_EDGE, systems()[1], CONTRACTION, ON_THE_EDGE]
    samples = [(of[k % 5], name(k, k % 5)) for k in range(n)]
    together = list(render_each(RANDOM, 32, samples))
    alone = [render(RANDOM, 32, *sample) for sample in samples]
    assert [drawn for _, drawn in together] == [drawn for _, drawn in alone]
    assert all(np.array_equal(one, other) for (one, _), (other, _) in zip(together, alone, strict=True))
    assert n < 41 or any(drawn.redraws for _, drawn in together)


def test_a_diverging_weight_is_told_when_it_is_made() -> None:
    drawn = Drawn(0, 4, 1.6, 1.0, 0.0, 0.0, 0.0)
    assert cloud(ON_THE_EDGE, name(7).words(9, 10_000), 4, 1.6) is None
    with pytest.raises(InputError, match=r"^image 000002_000007: .*diverges: not drawn for this dataset$"):
        make(RANDOM, 32, ON_THE_EDGE, name(7, 2), drawn)


def test_a_category_that_always_diverges_is_told() -> None:
    with pytest.raises(InputError, match=r"^category 5: 1000 weighted systems diverge; replace it in the table$"):
        render(FEW, 32, HOPELESS, name(0, 5))


def test_a_ring_has_12_views_30_degrees_apart_that_start_at_30() -> None:
    params = Params(viewpoint="ring", jitter_deg=0, points=100)
    for instance in range(30):
        drawn = render(params, 32, systems()[0], name(instance))[1]
        yaw = math.radians(30 * (instance % 12 + 1))
        assert drawn[3:] == pytest.approx((math.cos(yaw / 2), 0.0, math.sin(yaw / 2), 0.0), abs=1e-15)


@pytest.mark.parametrize("jitter_deg", [RING.jitter_deg, 15.0])
def test_a_rings_views_are_jittered_uniformly_about_the_vertical_axis(jitter_deg: float) -> None:
    params = Params(viewpoint="ring", jitter_deg=jitter_deg, points=100)
    off = []
    for instance in range(600):
        drawn = render(params, 16, CONTRACTION, name(instance))[1]
        assert (drawn.qx, drawn.qz) == (0.0, 0.0)
        yaw_deg = 2 * math.degrees(math.atan2(drawn.qy, drawn.qw))
        off.append(math.remainder(yaw_deg - 30 * (instance % 12 + 1), 360) / jitter_deg)
    assert -1.0 <= min(off) < -0.98
    assert 0.98 < max(off) <= 1.0
    assert abs(misfit(np.histogram(off, bins=20, range=(-1, 1))[0], [1.0] * 20)) < 4


def test_the_views_of_a_ring_share_weight_and_cloud_and_the_next_ring_has_its_own() -> None:
    params = Params(viewpoint="ring", points=1000)
    drawn = [render(params, 64, systems()[0], name(instance))[1] for instance in range(96)]
    objects = [{one[:3] for one in drawn[start : start + 12]} for start in range(0, 96, 12)]
    assert {len(ring) for ring in objects} == {1}
    assert len(set.union(*objects)) >= 6
    first = make(params, 64, systems()[0], name(0), drawn[0])
    same_cloud = [np.array_equal(make(params, 64, systems()[0], name(other), drawn[0]), first) for other in range(24)]
    assert same_cloud == [True] * 12 + [False] * 12


def test_a_rings_image_keeps_the_vertical_axis_vertical() -> None:
    """Points at the centroid's height stay on the horizon, the image's middle, from every view."""
    flat = systems()[0].maps.copy()
    flat[:, 3:6] = flat[:, 10] = 0.0  # y' = 0
    params = Params(viewpoint="ring", points=1000)
    for instance in range(12):
        image = render(params, 64, System(flat, systems()[0].thresholds), name(instance))[0]
        assert set(np.argwhere(image)[:, 0]) <= {31, 32}
        assert len(set(np.argwhere(image)[:, 1])) > 3
