"""The vector chaos game matches the plain one bit for bit."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exfractal import kernels
from exfractal.categories import draw
from exfractal.chaos_plain import CHAINS, HIGH, LANES, LOW, N_ROWS, SQUARES, advance
from exfractal.chaos_vector import play
from exfractal.params import Params
from tests import chaos_game

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

ATTEMPTS = range(271, 275)
"""Candidates with different numbers of maps; the second one diverges."""


def plain(maps: Floats, choices: Bytes, keep: bool) -> tuple[Floats, Floats | None]:
    """Return the statistics and points of the plain game, from the origin."""
    state = np.zeros((CHAINS, N_ROWS, LANES))
    state[:, LOW], state[:, HIGH] = np.inf, -np.inf
    points = np.empty((CHAINS, 3, choices.shape[1])) if keep else None
    advance(maps, choices, state, points)
    return state, points


def vector(maps: Floats, choices: Bytes, keep: bool) -> tuple[Floats, Floats | None]:
    """Return the statistics and points of the vector game, written over old content."""
    state = np.full((CHAINS, N_ROWS, LANES), 7.0)
    points = np.full((CHAINS, 3, choices.shape[1]), 7.0) if keep else None
    play(maps, choices, state, points)
    return state, points


def assert_equal_bits(maps: Floats, choices: Bytes) -> Floats:
    """Check both kinds of game against the plain one; return the statistics of the game that keeps squares.

    NaNs are equal whatever their sign or payload, which IEEE 754 leaves open.
    """
    for keep in (True, False):
        state, points = vector(maps, choices, keep)
        expected_state, expected_points = plain(maps, choices, keep)
        pairs = [(state, expected_state)]
        pairs += [(points, expected_points)] if points is not None and expected_points is not None else []
        for array, expected in pairs:
            assert np.array_equal(np.isnan(array), np.isnan(expected))
            numbers = ~np.isnan(expected)
            assert np.array_equal(array[numbers].view(np.uint64), expected[numbers].view(np.uint64))
        assert not keep or (state[:, SQUARES] == 0).all()
    return state


def random_game(seed: int, n_maps: int, n_points: int, magnitude: float = 1.0) -> tuple[Floats, Bytes]:
    """Return maps and choices of four random games; the spare lane of the maps is 0."""
    rng = np.random.default_rng(seed)
    maps = rng.uniform(-magnitude, magnitude, (CHAINS, n_maps, LANES, LANES))
    maps[..., 3] = 0.0
    return maps, rng.integers(0, n_maps, (CHAINS, n_points)).astype(np.uint8)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 16), st.integers(0, 60), st.sampled_from([0.3, 1.0, 3.0, 1e3, 1e100]))
def test_vector_matches_plain(seed: int, n_maps: int, n_points: int, magnitude: float) -> None:
    assert_equal_bits(*random_game(seed, n_maps, n_points, magnitude))


def test_vector_matches_plain_on_candidates() -> None:
    batch = draw(Params(), 0, ATTEMPTS)
    maps = np.zeros((CHAINS, 7, LANES, LANES))
    kernels.in_lanes(batch.maps.reshape(-1, 12), maps.reshape(-1, LANES, LANES))
    choices = np.array(
        [np.random.default_rng(k).integers(0, n, 500) for k, n in enumerate(batch.n_maps)], dtype=np.uint8
    )
    assert_equal_bits(maps, choices)


@pytest.mark.parametrize("chain", range(CHAINS))
def test_diverging_game_does_not_change_the_others(chain: int) -> None:
    """Points overflow to infinity, then to NaN, in one game only."""
    maps, choices = random_game(0, 3, 400, 0.3)
    calm = assert_equal_bits(maps, choices)
    maps[chain] *= 1e10
    state = assert_equal_bits(maps, choices)
    others = [k for k in range(CHAINS) if k != chain]
    assert not np.isfinite(state[chain, :, :3]).all()
    assert np.isnan(state[chain, 0, :3]).any()
    assert np.array_equal(state[others], calm[others])


def test_special_numbers_match() -> None:
    """Signed zeros, subnormal numbers, infinities and NaNs in the maps."""
    numbers = [0.0, -0.0, 5e-324, -5e-324, 1e-310, math.inf, -math.inf, math.nan, 1e308, -1e308, 0.5]
    rng = np.random.default_rng(1)
    for _ in range(50):
        maps, choices = random_game(0, 4, 20)
        maps[..., :3] = rng.choice(numbers, maps[..., :3].shape)
        assert_equal_bits(maps, choices)


def test_statistics_are_those_of_the_points() -> None:
    """Both games keep the sums, squares and extremes of a game without lanes."""
    batch = draw(Params(), 0, ATTEMPTS)
    maps = np.zeros((CHAINS, 7, LANES, LANES))
    kernels.in_lanes(batch.maps.reshape(-1, 12), maps.reshape(-1, LANES, LANES))
    choices = np.array(
        [np.random.default_rng(k).integers(0, n, 500) for k, n in enumerate(batch.n_maps)], dtype=np.uint8
    )
    for state, _ in (vector(maps, choices, keep=False), plain(maps, choices, keep=False)):
        for k in range(CHAINS):
            points = chaos_game(batch.maps[k].tolist(), choices[k].tolist())
            for axis, values in enumerate(zip(*points, strict=True)):
                total = squares = 0.0
                for value in values:  # `sum` compensates for rounding from Python 3.12 on
                    total, squares = total + value, squares + value * value
                assert state[k, :, axis].tolist() == [values[-1], total, squares, min(values), max(values)]


def test_spare_lane_stays_zero() -> None:
    state = assert_equal_bits(*random_game(3, 5, 100))
    assert (state[:, :, 3] == 0.0).all()
