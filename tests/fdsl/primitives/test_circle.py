"""Sines and cosines by integer arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fdsl.primitives.circle import cos_sin, directions

ANGLE = st.floats(-1000, 1000) | st.integers(-800, 800).map(lambda n: n * math.pi / 16) | st.floats(-8, 8)


def plain_sine(angle: Decimal) -> Decimal:
    """Return the sum of the power series, with 500 digits."""
    with localcontext(prec=500):
        total = term = angle
        for k in range(1, 2000):
            term = -term * angle * angle / (2 * k * (2 * k + 1))
            total += term
            if term == 0 or abs(term) < Decimal(10) ** -40:
                break
        return total


@settings(deadline=None, max_examples=200)
@given(st.floats(-60, 60))
@example(1.5 * math.pi)
@example(math.pi)
def test_sine_is_correctly_rounded(angle: float) -> None:
    assume(abs(math.sin(angle)) > 1e-18)
    assert cos_sin(angle)[1] == float(plain_sine(Decimal(angle)))


@settings(deadline=None, max_examples=1000)
@given(ANGLE)
def test_cosine_and_sine_match_libm(angle: float) -> None:
    cosine, sine = cos_sin(angle)
    assert abs(cosine - math.cos(angle)) <= max(math.ulp(math.cos(angle)), 1e-36)
    assert abs(sine - math.sin(angle)) <= max(math.ulp(math.sin(angle)), 1e-36)


def test_published_cosine_of_270_degrees_is_not_zero() -> None:
    """The float nearest to 3 pi / 2 is not 3 pi / 2. In the published pictures, a vertex there is a pixel further."""
    assert directions(4)[3, 0] == -1.8369701987210297e-16
    assert directions(4)[1, 0] == 6.123233995736766e-17
    assert cos_sin(0.0) == (1.0, 0.0)


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
