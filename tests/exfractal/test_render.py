"""Images of ExFractalDB: the weighted attractor through a pinhole camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from exfractal.attractors import Cloud, Games, System
from exfractal.categories import DOMAIN, sample, unpack
from exfractal.params import Params
from exfractal.render import Image, Variant, _object_lanes, project, render_each, turn, weighted
from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import TRAIN, Stream, domain
from tests import chaos_game, misfit
from tests.fidelity.fractals import rotate

RANDOM, RING = Params(), Params(viewpoint="ring")
FEW = Params(points=100)


@cache
def systems() -> Sequence[System]:
    """Return some categories."""
    return unpack(RANDOM, sample(RANDOM, 0, range(300)))


def stream_of(instance: int, category: int = 0) -> Stream:
    """Return the random numbers of an image."""
    return Stream(0, domain(DOMAIN, TRAIN), category, instance)


def render(params: Params, size_px: int, system: System, stream: Stream) -> tuple[Image, Variant]:
    """Return one image and its variant."""
    return next(render_each(params, size_px, [(system, stream)]))


def system(diagonal: float, off_diagonal: float, n_maps: int = 2) -> System:
    """Return a system whose maps differ in their translations only."""
    matrix = np.full((3, 3), off_diagonal) + np.eye(3) * (diagonal - off_diagonal)
    maps = [[*matrix.ravel(), k + 1.0, 2.0 - 3.0 * k, 0.5 * k - 1.0] for k in range(n_maps)]
    return System(np.array(maps), (np.arange(1, n_maps) * (2**32 // n_maps)).astype(np.uint32))


CONTRACTION = system(0.3, 0.1)
"""Stays finite under any weight."""
ON_THE_EDGE = system(0.99, 0.0)
"""Diverges only if a coefficient of the diagonal is scaled up."""
HOPELESS = system(1e30, 0.0)
"""Diverges under any weight."""


def cloud(system: System, words: npt.NDArray[np.uint32], coefficient: int, factor: float) -> Cloud | None:
    """Return the points of a weighted system."""
    (result,) = Games(len(words)).play([weighted(system, coefficient, factor)], [words])
    return result


def image_of(params: Params, size_px: int, system: System, stream: Stream, variant: Variant) -> Image:
    """Return the image that a variant describes, with the points of a stream."""
    words = stream.words(_object_lanes(variant.redraws)[1], params.points)
    points = cloud(system, words, variant.coefficient, variant.factor)
    assert points is not None
    return project(points, variant[3:], size_px)


def play(maps: npt.NDArray[np.float64], choices: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the points, (points, 3), of a plain chaos game."""
    return np.array(chaos_game(maps.tolist(), choices.tolist()))


def assert_is_seen(image: Image, points: npt.NDArray[np.float64], quaternion: Sequence[float]) -> None:
    """Check an image against a pinhole camera, except for points within 1e-9 px of a pixel's border."""
    size = image.shape[0]
    normalised = 2.0 * (points - points.min()) / (points.max() - points.min()) - 1.0
    x, y, z = rotate(normalised - normalised.mean(axis=0), quaternion).T
    half_height = (4.0 - z) * math.tan(math.radians(45.0) / 2.0)
    column, row = (1.0 + x / half_height) / 2.0 * size, (1.0 + y / half_height) / 2.0 * size
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
def test_projection_matches_a_pinhole_camera(quaternion: tuple[float, ...], size: int) -> None:
    points = cloud(systems()[0], stream_of(0).words(9, 5000), -1, 1.0)
    assert points is not None
    image = project(points, quaternion, size)  # type: ignore[arg-type]
    assert_is_seen(image, points.points.T, quaternion)


@pytest.mark.parametrize("params", [RANDOM, RING], ids=["random", "ring"])
@pytest.mark.parametrize(("category", "instance"), [(0, 0), (0, 13), (1, 5), (2, 999)])
def test_image_is_the_weighted_attractor(params: Params, category: int, instance: int) -> None:
    stream, system = stream_of(instance, category), systems()[category]
    image, variant = render(params, 224, system, stream)
    assert image.shape == (224, 224)
    assert image.dtype == np.uint8
    assert set(np.unique(image)) == {0, 255}
    maps = system.maps.copy()
    if variant.coefficient >= 0:
        maps[:, variant.coefficient] *= variant.factor
    source = stream if params is RANDOM else stream_of(instance // 12 * 12, category)
    words = source.words(_object_lanes(variant.redraws)[1], params.points)
    points = play(maps, np.searchsorted(system.thresholds, words, side="right"))
    assert_is_seen(image, points, variant[3:])


@pytest.mark.parametrize("coefficient", range(-1, 12))
def test_weight_scales_one_coefficient(coefficient: int) -> None:
    words, before = stream_of(0).words(9, 500), systems()[1].maps.copy()
    result = cloud(systems()[1], words, coefficient, 0.4)
    scaled = before * np.where(np.arange(12) == coefficient, 0.4, 1.0)
    assert result is not None
    expected = play(scaled, np.searchsorted(systems()[1].thresholds, words, side="right"))
    assert np.array_equal(result.points.T, expected)
    assert np.array_equal(systems()[1].maps, before)


@pytest.mark.parametrize("params", [FEW, Params(points=100, weight_range=0.2), Params(points=100, weight_range=0)])
def test_weights_are_uniform(params: Params) -> None:
    rows = [(-1, 1.0), *((coefficient, factor) for coefficient in range(12) for factor in params.factors)]
    n = 15 * len(rows)
    variants = [render(params, 16, CONTRACTION, stream_of(instance))[1] for instance in range(n)]
    counts = [sum((variant.coefficient, variant.factor) == row for variant in variants) for row in rows]
    assert sum(counts) == n
    assert min(counts) > 0
    assert len(rows) == 1 or abs(misfit(counts, [1.0] * len(rows))) < 4
    assert {variant.redraws for variant in variants} == {0}


def test_viewpoints_are_uniform() -> None:
    n = 4000
    quaternions = np.array([render(FEW, 16, CONTRACTION, stream_of(instance))[1][3:] for instance in range(n)])
    assert np.abs((quaternions**2).sum(axis=1) - 1.0).max() < 1e-14
    moments = quaternions.T @ quaternions / n
    assert np.abs(moments - np.eye(4) / 4).max() < 0.02
    assert np.abs((quaternions**4).mean(axis=0) - 1 / 8).max() < 0.02
    for axis in np.eye(3):
        rotated = np.concatenate([rotate(axis[None], quaternion) for quaternion in quaternions])
        assert np.abs(rotated.mean(axis=0)).max() < 0.04
        assert np.abs((rotated**2).mean(axis=0) - 1 / 3).max() < 0.02
        for coordinate in rotated.T:  # Archimedes: each coordinate of a point on the sphere is uniform
            assert abs(misfit(np.histogram(coordinate, bins=40, range=(-1, 1))[0], [1.0] * 40)) < 4


@pytest.mark.parametrize("params", [RANDOM, RING], ids=["random", "ring"])
def test_image_does_not_depend_on_earlier_ones(params: Params) -> None:
    names = [(category, instance) for category in range(3) for instance in (0, 1, 12, 13)]
    forward = {key: render(params, 64, systems()[key[0]], stream_of(key[1], key[0]))[0] for key in names}
    backward = {key: render(params, 64, systems()[key[0]], stream_of(key[1], key[0]))[0] for key in reversed(names)}
    assert all(np.array_equal(forward[key], backward[key]) for key in names)
    assert len({image.tobytes() for image in forward.values()}) == len(names)


def test_larger_image_shows_the_same_points() -> None:
    small, large = (render(RANDOM, size, systems()[2], stream_of(8))[0] for size in (224, 448))
    assert np.array_equal(large.reshape(224, 2, 224, 2).max(axis=(1, 3)), small)


def test_hundred_points_are_enough() -> None:
    for instance in range(20):
        n_white = np.count_nonzero(render(FEW, 224, systems()[0], stream_of(instance))[0])
        assert 2 <= n_white <= 100


def test_diverging_weight_is_redrawn() -> None:
    params, redraws = Params(points=10_000), []
    for instance in range(60):
        image, variant = render(params, 32, ON_THE_EDGE, stream_of(instance))
        assert variant.coefficient not in (0, 4, 8) or variant.factor < 1.0
        assert image.any()
        assert np.array_equal(image_of(params, 32, ON_THE_EDGE, stream_of(instance), variant), image)
        redraws.append(variant.redraws)
    assert redraws.count(0) > 30
    assert max(redraws) >= 1


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 41])
def test_images_side_by_side_match_single_ones(n: int) -> None:
    cycle = [systems()[0], ON_THE_EDGE, systems()[1], CONTRACTION, ON_THE_EDGE]
    samples = [(cycle[k % 5], stream_of(k, k % 5)) for k in range(n)]
    together = list(render_each(RANDOM, 32, samples))
    alone = [render(RANDOM, 32, *sample) for sample in samples]
    assert [variant for _, variant in together] == [variant for _, variant in alone]
    assert all(np.array_equal(image, single) for (image, _), (single, _) in zip(together, alone, strict=True))
    assert n < 41 or any(variant.redraws for _, variant in together)


def test_category_that_always_diverges_is_refused() -> None:
    with pytest.raises(InputError, match=r"^category 5: 1000 weighted systems diverge; replace it in the table$"):
        render(FEW, 32, HOPELESS, stream_of(0, 5))


def test_ring_has_a_view_every_30_degrees() -> None:
    params = Params(viewpoint="ring", jitter_deg=0, points=100)
    for instance in range(30):
        variant = render(params, 32, systems()[0], stream_of(instance))[1]
        yaw = math.radians(30 * (2 - instance % 12))
        assert variant[3:] == pytest.approx((math.cos(yaw / 2), 0.0, math.sin(yaw / 2), 0.0), abs=1e-15)


def test_ring_turns_as_the_published_one() -> None:
    """The published view f is view (1 - f) mod 12 of a ring that starts at 30 degrees and advances by 30."""
    params = Params(viewpoint="ring", jitter_deg=0, points=100)
    turned = [math.radians(30 * ((1 - view) % 12 + 1)) for view in range(12)]
    for view, yaw in enumerate(turned):
        variant = render(params, 16, CONTRACTION, stream_of(view))[1]
        rotated = rotate(np.eye(3), variant[3:])
        expected = rotate(np.eye(3), (math.cos(yaw / 2), 0.0, math.sin(yaw / 2), 0.0))
        assert np.abs(rotated - expected).max() < 1e-14


def test_y_axis_points_down_in_the_picture() -> None:
    """The published pictures have +y at the bottom. Three points of a hundred are far above the others."""
    points = np.zeros((3, 100))
    points[0], points[1, :3] = np.linspace(-1, 1, 100), 1.0
    low, high, mean = points.min(), points.max(), tuple(points.mean(axis=1))
    image = project(Cloud(points, low, high, mean), (1.0, 0.0, 0.0, 0.0), 64)
    rows = np.argwhere(image)[:, 0]
    assert rows.max() > 45
    assert np.median(rows) in (30, 31)


@pytest.mark.parametrize(("viewpoint", "n_views"), [("random", 1), ("ring", 12)])
def test_each_weight_comes_once(viewpoint: str, n_views: int) -> None:
    params = Params(weights="each", viewpoint=viewpoint, points=100, weight_range=0.2)
    rows = [(coefficient, factor) for coefficient in range(12) for factor in params.factors]
    rows.insert(2, (-1, 1.0))  # the published order: 0.8, 0.9, 1, 1.1, 1.2 times the first coefficient
    variants = [render(params, 16, CONTRACTION, stream_of(k))[1] for k in range(49 * n_views)]
    assert [(variant.coefficient, variant.factor) for variant in variants[::n_views]] == rows
    again = render(params, 16, CONTRACTION, stream_of(49 * n_views))[1]
    assert (again.coefficient, again.factor) == rows[0]


def test_each_weight_that_diverges_is_replaced() -> None:
    params = Params(weights="each")
    variants = [render(params, 16, ON_THE_EDGE, stream_of(k))[1] for k in range(145)]
    redrawn = [variant for variant in variants if variant.redraws]
    assert redrawn
    assert all(variant.coefficient not in (0, 4, 8) or variant.factor < 1.0 for variant in variants)


@pytest.mark.parametrize("jitter_deg", [RING.jitter_deg, 15.0])
def test_jitter_of_a_ring_is_uniform(jitter_deg: float) -> None:
    params = Params(viewpoint="ring", jitter_deg=jitter_deg, points=100)
    jitters = []
    for instance in range(600):
        variant = render(params, 16, CONTRACTION, stream_of(instance))[1]
        assert (variant.qx, variant.qz) == (0.0, 0.0)
        yaw_deg = 2 * math.degrees(math.atan2(variant.qy, variant.qw))
        jitters.append(math.remainder(yaw_deg - 30 * (2 - instance % 12), 360) / jitter_deg)
    assert -1.0 <= min(jitters) < -0.98
    assert 0.98 < max(jitters) <= 1.0
    assert abs(misfit(np.histogram(jitters, bins=20, range=(-1, 1))[0], [1.0] * 20)) < 4


def test_views_of_a_ring_share_weight_and_cloud() -> None:
    params = Params(viewpoint="ring", points=1000)
    images, variants = zip(
        *(render(params, 64, systems()[0], stream_of(instance)) for instance in range(96)), strict=True
    )
    objects = [{variant[:3] for variant in variants[start : start + 12]} for start in range(0, 96, 12)]
    assert {len(ring) for ring in objects} == {1}
    assert len(set.union(*objects)) >= 6
    for instance in range(96):
        first_view = stream_of(instance // 12 * 12)
        assert np.array_equal(image_of(params, 64, systems()[0], first_view, variants[instance]), images[instance])
    assert not np.array_equal(image_of(params, 64, systems()[0], stream_of(12), variants[0]), images[0])


def test_ring_keeps_the_vertical_axis_vertical() -> None:
    """Points at the centroid's height stay on the horizon, the image's middle, from every view."""
    flat = systems()[0].maps.copy()
    flat[:, 3:6] = flat[:, 10] = 0.0  # y' = 0
    params = Params(viewpoint="ring", points=1000)
    for instance in range(12):
        image = render(params, 64, System(flat, systems()[0].thresholds), stream_of(instance))[0]
        assert set(np.argwhere(image)[:, 0]) <= {31, 32}
        assert len(set(np.argwhere(image)[:, 1])) > 3


@pytest.mark.parametrize("instance", [0, 5])
@pytest.mark.parametrize("params", [RANDOM, RING], ids=["random", "ring"])
def test_turn_begins_with_the_image(params: Params, instance: int) -> None:
    frames = list(turn(params, 64, systems()[0], stream_of(instance), 8))
    assert len({frame.tobytes() for frame in frames}) == 8
    assert np.array_equal(frames[0], render(params, 64, systems()[0], stream_of(instance))[0])


def test_turn_passes_the_views_of_a_ring() -> None:
    """Views turn the other way round. A point on the border of two pixels may change its pixel."""
    ring = Params(viewpoint="ring", jitter_deg=0.0)
    frames = list(turn(ring, 128, systems()[0], stream_of(0), 12))
    for k, frame in enumerate(frames):
        view, _ = render(ring, 128, systems()[0], stream_of(-k % 12))
        assert np.count_nonzero(frame != view) <= 4
