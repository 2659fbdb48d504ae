"""Kernels of ExFractalDB match plain Python: the choice of maps and the pinhole camera."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exfractal import kernels
from exfractal.attractors import thresholds
from exfractal.categories import draw
from exfractal.params import Params
from fdsl.primitives.streams import Stream
from tests import misfit

Points = npt.NDArray[np.float64]


@settings(deadline=None)
@given(
    st.lists(st.floats(0.001, 1.0), min_size=2, max_size=16),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50),
)
def test_map_is_chosen_by_cumulative_probability(shares: list[float], words: list[int]) -> None:
    limits = thresholds(np.array(shares) / math.fsum(shares)).tolist()
    edges = [limit + step for limit in limits for step in (-1, 0, 1)]
    all_words = np.array([word for word in words + edges if 0 <= word < 2**32], dtype=np.uint32)
    choices = np.full(len(all_words), 77, dtype=np.uint8)
    kernels.choose_maps(all_words, np.array(limits, dtype=np.uint32), choices)
    assert choices.tolist() == [sum(word >= limit for limit in limits) for word in all_words.tolist()]


@pytest.mark.parametrize("attempt", [0, 1, 2, 3, 88])
def test_maps_are_chosen_by_their_determinants(attempt: int) -> None:
    maps, probability = draw(Params(), 0, range(attempt, attempt + 1)).candidate(0)
    shares = np.abs(np.linalg.det(maps[:, :9].reshape(-1, 3, 3)))
    n = int(max(20_000, 20 * shares.sum() / shares.min()))
    choices = np.empty(n, dtype=np.uint8)
    kernels.choose_maps(Stream(0, 0, 0, attempt).words(9, n), thresholds(probability), choices)
    assert abs(misfit(np.bincount(choices, minlength=len(maps)), shares)) < 4


def test_variances_are_those_of_normalised_points() -> None:
    points = np.random.default_rng(0).normal(size=(3, 500)) * [[1.0], [2.0], [5.0]] + [[3.0], [-1.0], [0.0]]
    half_range = 0.5 * (points.max() - points.min())
    variances = kernels.variances(points, points.mean(axis=1), half_range)
    normalised = 2.0 * (points - points.min()) / (points.max() - points.min()) - 1.0
    assert np.abs(variances - normalised.var(axis=1)).max() < 1e-14


def test_lanes_hold_columns_of_maps() -> None:
    maps, out = np.arange(1.0, 37.0).reshape(3, 12), np.full((4, 4, 4), -7.0)
    kernels.in_lanes(maps, out)
    for m in range(3):
        assert out[m, :3, :3].T.tolist() == maps[m, :9].reshape(3, 3).tolist()
        assert out[m, 3, :3].tolist() == maps[m, 9:].tolist()
    assert (out[:3, :, 3] == -7.0).all()
    assert (out[3] == -7.0).all()


@pytest.mark.parametrize("quaternion", [(1.0, 0.0, 0.0, 0.0), (0.5, -0.5, 0.5, -0.5), (0.8, 0.36, -0.48, 0.0)])
def test_camera_normalises_centres_and_rotates(quaternion: tuple[float, float, float, float]) -> None:
    w, *axis = quaternion
    points = np.random.default_rng(1).normal(size=(50, 3)) * [1.0, 2.0, 5.0] + [3.0, -1.0, 0.5]
    transform = kernels.camera(points.min(), points.max(), tuple(points.mean(axis=0)), quaternion)
    normalised = 2.0 * (points - points.min()) / (points.max() - points.min()) - 1.0
    centred = normalised - normalised.mean(axis=0)
    crossed = np.cross(axis, centred)
    rotated = centred + 2.0 * (w * crossed + np.cross(axis, crossed))
    assert np.abs(points @ transform[:, :3].T + transform[:, 3] - rotated).max() < 1e-14


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
        ((0.01, 0.01, 0.0), [32, 32]),
        ((-0.01, -0.01, 0.0), [31, 31]),
        ((2.01, 0.01, 0.0), [48, 32]),
        ((-0.01, -2.01, 0.0), [31, 15]),
        ((1.01, 0.01, 2.0), [48, 32]),
        ((3.99, 3.99, 0.0), [63, 63]),
        ((-3.99, -3.99, 0.0), [0, 0]),
    ],
)
def test_axes_point_right_down_and_near(point: tuple[float, ...], pixel: list[int]) -> None:
    assert plotted(np.array([point])) == [pixel]


@pytest.mark.parametrize("point", [(4.01, 0, 0), (-4.01, 0, 0), (0, 4.01, 0), (0, -4.01, 0)])
def test_point_outside_the_view_is_omitted(point: tuple[float, ...]) -> None:
    assert plotted(np.array([point], dtype=np.float64)) == []


def test_transformed_points_match_a_pinhole_camera() -> None:
    rng = np.random.default_rng(1)
    points, transform = rng.uniform(-1, 1, (400, 3)), rng.uniform(-0.9, 0.9, (3, 4))
    right, down, near = (points @ transform[:, :3].T + transform[:, 3]).T
    columns = np.floor((1.0 + right / (4.0 - near)) / 2.0 * SIZE)
    rows = np.floor((1.0 + down / (4.0 - near)) / 2.0 * SIZE)
    expected = {(c, r) for c, r in zip(columns, rows, strict=True) if 0 <= c < SIZE and 0 <= r < SIZE}
    assert {(column, row) for column, row in plotted(points, transform)} == expected
