"""Points of an attractor match the plain chaos game bit for bit, whatever games run beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exfractal.attractors import Games, System, thresholds
from exfractal.categories import draw
from exfractal.params import Params
from tests import chaos_game

ATTEMPTS = (88, 177, 211, 274, 468)
"""Candidates whose attractors stay finite."""

N_POINTS = 3000


def total(values: Sequence[float]) -> float:
    """The sum in order; `sum` compensates for rounding from Python 3.12 on."""
    subtotal = 0.0
    for value in values:
        subtotal += value
    return subtotal


def system_of(attempt: int) -> System:
    """Return the system of an attempt."""
    maps, probability = draw(Params(), 0, range(attempt, attempt + 1)).candidate(0)
    return System(maps, thresholds(probability))


def words(seed: int, n: int = N_POINTS) -> npt.NDArray[np.uint32]:
    """Return random words."""
    return np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint32)


def plain(system: System, words: npt.NDArray[np.uint32]) -> list[tuple[float, float, float]]:
    """Return the points of the plain chaos game."""
    choices = [sum(word >= limit for limit in system.thresholds.tolist()) for word in words.tolist()]
    return chaos_game(system.maps.tolist(), choices)


@pytest.mark.parametrize("attempts", [(88,), (177, 211), (274, 88, 468), (211, 274, 177, 88), (88, 88, 88, 88)])
def test_games_match_the_plain_loop(attempts: Sequence[int]) -> None:
    systems = [system_of(attempt) for attempt in attempts]
    sequences = [words(k) for k in range(len(systems))]
    clouds = Games(N_POINTS).play(systems, sequences)
    for system, sequence, cloud in zip(systems, sequences, clouds, strict=True):
        expected = plain(system, sequence)
        axes = list(zip(*expected, strict=True))
        assert cloud is not None
        assert cloud.points.T.tolist() == [list(point) for point in expected]
        assert (cloud.low, cloud.high) == (min(map(min, axes)), max(map(max, axes)))
        assert cloud.mean == tuple(total(axis) / N_POINTS for axis in axes)


def test_buffers_do_not_leak_between_games() -> None:
    games = Games(N_POINTS)
    systems = [system_of(attempt) for attempt in ATTEMPTS]
    games.play(systems[:4], [words(k) for k in range(4)])
    (again,) = games.play(systems[4:], [words(4)])
    (alone,) = Games(N_POINTS).play(systems[4:], [words(4)])
    assert again is not None
    assert alone is not None
    assert np.array_equal(again.points, alone.points)
    assert again[1:] == alone[1:]


def test_first_point_is_the_image_of_the_origin() -> None:
    system = System(np.arange(24, dtype=np.float64).reshape(2, 12), np.array([0], dtype=np.uint32))
    (cloud,) = Games(1).play([system], [words(0, 1)])
    assert cloud is not None
    assert cloud.points[:, 0].tolist() == system.maps[1, 9:].tolist()


HALVE = [0.5, 0, 0, 0, 0.5, 0, 0, 0, 0.5, 1, 2, 3]
EXPLODE = [1e200, 0, 0, 0, 1e200, 0, 0, 0, 1e200, 0, 0, 0]
ONE_OF_TWO = System(np.array([HALVE, EXPLODE]), np.array([2**31], dtype=np.uint32))


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 3), st.data())
def test_divergence_affects_only_its_own_game(n: int, k: int, data: st.DataObject) -> None:
    sequences = [np.zeros(n, dtype=np.uint32) for _ in range(4)]
    systems = [ONE_OF_TWO] * 4
    games = Games(n)
    assert all(cloud is not None and math.isfinite(cloud.high) for cloud in games.play(systems, sequences))
    if n > 2:
        i = data.draw(st.integers(1, n - 2))
        sequences[k][i : i + 2] = 2**32 - 1
        assert [cloud is None for cloud in games.play(systems, sequences)] == [game == k for game in range(4)]


def test_cloud_of_one_point_is_none() -> None:
    still = System(np.zeros((2, 12)), np.array([0], dtype=np.uint32))
    assert Games(100).play([still], [words(0, 100)]) == [None]
