"""The points of an attractor are those of the plain chaos game, to the last bit, whichever games stand beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exfractal import kernels
from exfractal.attractors import Games, System, thresholds
from exfractal.categories import draw
from exfractal.params import Params
from exfractal.simd import _advance_all, play
from tests import chaos_game

ATTEMPTS = (88, 177, 211, 274, 468)
"""Candidates whose attractors stay finite."""

N_POINTS = 3000


def total(values: Sequence[float]) -> float:
    """The plain sum in order; `sum` compensates for rounding from Python 3.12 on."""
    added = 0.0
    for value in values:
        added += value
    return added


def system(attempt: int) -> System:
    """Return the system of an attempt."""
    maps, probability = draw(Params(), 0, range(attempt, attempt + 1)).candidate(0)
    return System(maps, thresholds(probability))


def words(seed: int, n: int = N_POINTS) -> npt.NDArray[np.uint32]:
    """Return random words."""
    return np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint32)


def plain(of: System, words: npt.NDArray[np.uint32]) -> list[tuple[float, float, float]]:
    """Return the points of the plain chaos game."""
    choices = [sum(word >= limit for limit in of.thresholds.tolist()) for word in words.tolist()]
    return chaos_game(of.maps.tolist(), choices)


@pytest.mark.parametrize("attempts", [(88,), (177, 211), (274, 88, 468), (211, 274, 177, 88), (88, 88, 88, 88)])
def test_the_chaos_game_is_the_plain_loop_to_the_last_bit(attempts: Sequence[int]) -> None:
    systems = [system(attempt) for attempt in attempts]
    drawn = [words(k) for k in range(len(systems))]
    for of, each, cloud in zip(systems, drawn, Games(N_POINTS).play(systems, drawn), strict=True):
        expected = plain(of, each)
        axes = list(zip(*expected, strict=True))
        assert cloud is not None
        assert cloud.points.T.tolist() == [list(point) for point in expected]
        assert (cloud.low, cloud.high) == (min(map(min, axes)), max(map(max, axes)))
        assert cloud.mean == tuple(total(axis) / N_POINTS for axis in axes)


def test_a_game_leaves_no_trace_in_the_next_one() -> None:
    games = Games(N_POINTS)
    systems = [system(attempt) for attempt in ATTEMPTS]
    games.play(systems[:4], [words(k) for k in range(4)])
    (again,) = games.play(systems[4:], [words(4)])
    (alone,) = Games(N_POINTS).play(systems[4:], [words(4)])
    assert again is not None
    assert alone is not None
    assert np.array_equal(again.points, alone.points)
    assert again[1:] == alone[1:]


def test_statistics_are_kept_instead_of_points_and_are_those_of_each_ones_points() -> None:
    drawn = draw(Params(), 0, range(271, 275))
    maps = np.zeros((4, 7, 4, 4))
    kernels.in_lanes(drawn.maps.reshape(-1, 12), maps.reshape(-1, 4, 4))
    choices = np.array(
        [np.random.default_rng(k).integers(0, n, 500) for k, n in enumerate(drawn.n_maps)], dtype=np.uint8
    )
    states = np.empty((4, 5, 4))
    play(maps, choices, states, None)
    for k in range(4):
        points = chaos_game(drawn.maps[k].tolist(), choices[k].tolist())
        for axis, values in enumerate(zip(*points, strict=True)):
            squares = total([value * value for value in values])
            assert states[k, :, axis].tolist() == [values[-1], total(values), squares, min(values), max(values)]


@pytest.mark.parametrize("keep", [True, False], ids=["points", "statistics"])
def test_without_numbas_compiler_it_is_the_same(keep: bool) -> None:
    maps = np.zeros((4, 7, 4, 4))
    drawn = draw(Params(), 0, range(271, 275)).maps
    kernels.in_lanes(drawn.reshape(-1, 12), maps.reshape(-1, 4, 4))
    choices = np.random.default_rng(0).integers(0, 2, (4, 300)).astype(np.uint8)
    states, by_hand = np.empty((4, 5, 4)), np.zeros((4, 5, 4))
    points, points_by_hand = (np.empty((4, 3, 300)), np.empty((4, 3, 300))) if keep else (None, None)
    play(maps, choices, states, points)
    by_hand[:, 3], by_hand[:, 4] = np.inf, -np.inf
    _advance_all(maps, choices, by_hand, points_by_hand)
    assert np.array_equal(states, by_hand)
    assert points is None or np.array_equal(points, points_by_hand)


def test_the_first_point_is_the_image_of_the_origin() -> None:
    of = System(np.arange(24, dtype=np.float64).reshape(2, 12), np.array([0], dtype=np.uint32))
    (cloud,) = Games(1).play([of], [words(0, 1)])
    assert cloud is not None
    assert cloud.points[:, 0].tolist() == of.maps[1, 9:].tolist()


HALVE = [0.5, 0, 0, 0, 0.5, 0, 0, 0, 0.5, 1, 2, 3]
EXPLODE = [1e200, 0, 0, 0, 1e200, 0, 0, 0, 1e200, 0, 0, 0]
ONE_OF_TWO = System(np.array([HALVE, EXPLODE]), np.array([2**31], dtype=np.uint32))


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 3), st.data())
def test_a_divergence_is_told_whenever_it_happens_and_is_nobody_elses(n: int, which: int, data: st.DataObject) -> None:
    each = [np.zeros(n, dtype=np.uint32) for _ in range(4)]
    systems = [ONE_OF_TWO] * 4
    games = Games(n)
    assert all(cloud is not None and math.isfinite(cloud.high) for cloud in games.play(systems, each))
    if n > 2:
        when = data.draw(st.integers(1, n - 2))
        each[which][when : when + 2] = 2**32 - 1
        assert [cloud is None for cloud in games.play(systems, each)] == [k == which for k in range(4)]


def test_a_cloud_of_one_point_is_none() -> None:
    still = System(np.zeros((2, 12)), np.array([0], dtype=np.uint32))
    assert Games(100).play([still], [words(0, 100)]) == [None]
