"""Sines and cosines by plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl.primitives.circle import cos_sin, directions

TURN = st.floats(-1e4, 1e4) | st.integers(-800, 800).map(lambda n: n / 16) | st.floats(-2.0, 2.0)


@settings(deadline=None, max_examples=1000)
@given(TURN)
def test_cosine_and_sine_match_libm(turn: float) -> None:
    angle = 2.0 * math.pi * (turn - round(turn))  # subtracting whole turns does not round
    cosine, sine = cos_sin(turn)
    assert abs(cosine - math.cos(angle)) <= 1e-15
    assert abs(sine - math.sin(angle)) <= 1e-15


@pytest.mark.parametrize("quarters", range(-9, 10))
def test_quarter_turns_are_exact(quarters: int) -> None:
    assert cos_sin(quarters / 4) == ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters % 4]


@pytest.mark.parametrize("n", [1, 3, 4, 7, 200, 1000])
def test_directions_are_unit_vectors_at_equal_angles(n: int) -> None:
    table = directions(n)
    assert table.shape == (n, 2)
    assert table.dtype == np.float64
    assert np.abs(np.hypot(*table.T) - 1.0).max() <= 5e-16
    angles = 2.0 * np.pi * np.arange(n) / n
    assert np.abs(table - np.stack([np.cos(angles), np.sin(angles)], axis=1)).max() <= 2e-15


def test_directions_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        directions(5)[0, 0] = 7.0
