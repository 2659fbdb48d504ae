"""The kernels of ExFractalDB are the chaos game and the pinhole camera, as plain Python has them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exfractal import kernels
from exfractal.categories import draw, thresholds
from exfractal.params import Params
from exfractal.simd import advance, survey
from primitives.streams import Stream
from tests import chaos_game, misfit

Points = npt.NDArray[np.float64]


def total(values: Sequence[float]) -> float:
    """The plain sum in order; `sum` compensates for rounding from Python 3.12 on."""
    added = 0.0
    for value in values:
        added += value
    return added


@pytest.mark.parametrize("attempt", [88, 177, 211, 274, 468])
def test_the_chaos_game_is_the_plain_loop_to_the_last_bit(attempt: int) -> None:
    maps, probability = draw(Params(), 0, range(attempt, attempt + 1)).candidate(0)
    choices = np.random.default_rng(attempt).choice(len(maps), p=probability, size=3000).astype(np.uint8)
    points = np.empty((3, 3000))
    low, high, *means = kernels.iterate(maps, choices, points)
    expected = chaos_game(maps.tolist(), choices.tolist())
    axes = list(zip(*expected, strict=True))
    assert points.T.tolist() == [list(point) for point in expected]
    assert (low, high) == (min(map(min, axes)), max(map(max, axes)))
    assert means == [total(axis) / 3000 for axis in axes]


def test_four_chaos_games_side_by_side_have_the_statistics_of_each_ones_points() -> None:
    drawn = draw(Params(), 0, range(271, 275))
    maps = np.zeros((4, 7, 4, 4))
    maps[:, :, :3, :3] = drawn.maps[:, :, :9].reshape(4, 7, 3, 3).swapaxes(2, 3)
    maps[:, :, 3, :3] = drawn.maps[:, :, 9:]
    choices = np.array(
        [np.random.default_rng(k).integers(0, n, 500) for k, n in enumerate(drawn.n_maps)], dtype=np.uint8
    )
    states, plain = np.empty((4, 5, 4)), np.empty((4, 5, 4))
    survey(maps, choices, states)
    for k in range(4):
        points = chaos_game(drawn.maps[k].tolist(), choices[k].tolist())
        for axis, values in enumerate(zip(*points, strict=True)):
            squares = total([value * value for value in values])
            assert states[k, :, axis].tolist() == [values[-1], total(values), squares, min(values), max(values)]
    plain[:], plain[:, 3], plain[:, 4] = 0.0, np.inf, -np.inf
    for i in range(500):
        for k in range(4):
            advance(maps[k], choices[k, i], plain, k)
    assert np.array_equal(states, plain)


def test_the_first_point_is_the_image_of_the_origin() -> None:
    maps = np.arange(24, dtype=np.float64).reshape(2, 12)
    points = np.empty((3, 1))
    kernels.iterate(maps, np.array([1], dtype=np.uint8), points)
    assert points[:, 0].tolist() == maps[1, 9:].tolist()


HALVE = [0.5, 0, 0, 0, 0.5, 0, 0, 0, 0.5, 1, 2, 3]
EXPLODE = [1e200, 0, 0, 0, 1e200, 0, 0, 0, 1e200, 0, 0, 0]


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_a_divergence_is_told_whenever_it_happens(n: int, data: st.DataObject) -> None:
    choices = np.zeros(n, dtype=np.uint8)
    finite = np.array(kernels.iterate(np.array([HALVE, EXPLODE]), choices, np.empty((3, n))))
    assert np.isfinite(finite).all()
    if n > 2:
        when = data.draw(st.integers(1, n - 2))
        choices[when : when + 2] = 1
        diverged = np.array(kernels.iterate(np.array([HALVE, EXPLODE]), choices, np.empty((3, n))))
        assert np.isnan(diverged).all()


def test_a_cloud_of_one_point_has_no_extent() -> None:
    still = np.zeros((2, 12))
    assert np.isnan(kernels.iterate(still, np.zeros(100, dtype=np.uint8), np.empty((3, 100)))).all()


@settings(deadline=None)
@given(
    st.lists(st.floats(0.001, 1.0), min_size=2, max_size=16),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50),
)
def test_a_map_is_chosen_by_where_the_word_stands_among_the_cumulative_probabilities(
    shares: list[float], words: list[int]
) -> None:
    limits = thresholds(np.array(shares) / math.fsum(shares)).tolist()
    edges = [limit + step for limit in limits for step in (-1, 0, 1)]
    drawn = np.array([word for word in words + edges if 0 <= word < 2**32], dtype=np.uint32)
    choices = np.full(len(drawn), 77, dtype=np.uint8)
    kernels.choose_maps(drawn, np.array(limits, dtype=np.uint32), choices)
    assert choices.tolist() == [sum(word >= limit for limit in limits) for word in drawn.tolist()]


@pytest.mark.parametrize("attempt", [0, 1, 2, 3, 88])
def test_maps_are_chosen_as_often_as_their_shares_of_the_determinants(attempt: int) -> None:
    maps, probability = draw(Params(), 0, range(attempt, attempt + 1)).candidate(0)
    shares = np.abs(np.linalg.det(maps[:, :9].reshape(-1, 3, 3)))
    n = int(max(20_000, 20 * shares.sum() / shares.min()))
    choices = np.empty(n, dtype=np.uint8)
    kernels.choose_maps(Stream(0, 0, 0, attempt).words(9, n), thresholds(probability), choices)
    assert abs(misfit(np.bincount(choices, minlength=len(maps)), shares)) < 4


def test_the_variances_are_those_of_the_normalised_points() -> None:
    points = np.random.default_rng(0).normal(size=(3, 500)) * [[1.0], [2.0], [5.0]] + [[3.0], [-1.0], [0.0]]
    half_range = 0.5 * (points.max() - points.min())
    found = kernels.variances(points, points.mean(axis=1), half_range)
    normalised = 2.0 * (points - points.min()) / (points.max() - points.min()) - 1.0
    assert np.abs(found - normalised.var(axis=1)).max() < 1e-14


IDENTITY = np.eye(3, 4)
SIZE = 64


def plotted(points: Points, transform: Points = IDENTITY, distance: float = 4.0, size: int = SIZE) -> list[list[int]]:
    """Return the (column, row) of the white pixels, for a field of view of 90 degrees."""
    image = np.zeros((size, size), dtype=np.uint8)
    kernels.plot(np.ascontiguousarray(points.T), transform, distance, 1.0, image)
    assert set(np.unique(image)) <= {0, 255}
    return np.argwhere(image.T).tolist()


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        ((0.01, -0.01, 0.0), [32, 32]),
        ((-0.01, 0.01, 0.0), [31, 31]),
        ((2.01, -0.01, 0.0), [48, 32]),
        ((-0.01, 2.01, 0.0), [31, 15]),
        ((1.01, -0.01, 2.0), [48, 32]),
        ((3.99, -3.99, 0.0), [63, 63]),
        ((-3.99, 3.99, 0.0), [0, 0]),
    ],
)
def test_x_is_right_y_is_up_and_z_is_near(point: tuple[float, ...], pixel: list[int]) -> None:
    assert plotted(np.array([point])) == [pixel]


@pytest.mark.parametrize("point", [(4.01, 0, 0), (-4.01, 0, 0), (0, 4.01, 0), (0, -4.01, 0)])
def test_a_point_outside_the_field_of_view_is_left_out(point: tuple[float, ...]) -> None:
    assert plotted(np.array([point], dtype=np.float64)) == []


def test_points_are_seen_by_a_pinhole_camera_after_their_transform() -> None:
    rng = np.random.default_rng(1)
    points, transform = rng.uniform(-1, 1, (400, 3)), rng.uniform(-0.9, 0.9, (3, 4))
    turned = points @ transform[:, :3].T + transform[:, 3]
    right, up, near = turned.T
    columns = np.floor((1.0 + right / (4.0 - near)) / 2.0 * SIZE)
    rows = np.floor((1.0 - up / (4.0 - near)) / 2.0 * SIZE)
    expected = {(c, r) for c, r in zip(columns, rows, strict=True) if 0 <= c < SIZE and 0 <= r < SIZE}
    assert {(column, row) for column, row in plotted(points, transform)} == expected
