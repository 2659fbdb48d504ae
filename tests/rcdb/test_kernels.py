"""Perlin noise matches the published library, and contours match a plain loop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdsl.primitives.circle import directions
from rcdb.kernels import GRADIENTS, PERMUTATION, grow_contours, perlin


def perlin_at(u: float) -> float:
    u = np.float32(u)
    cell = int(u)
    return float(perlin(u - np.float32(cell), GRADIENTS[cell % 256], GRADIENTS[(cell + 1) % 256]))


def plain_perlin(u: float) -> float:
    """Return improved gradient noise in one dimension.

    The slope at each whole number is 1..8 or -1; quintics blend them.
    """

    def slope(cell: int) -> float:
        hashed = int(PERMUTATION[cell % 1024 % 256])
        return -1.0 if hashed & 8 else (hashed & 7) + 1.0

    cell = math.floor(u)
    x = u - cell
    fade = 6 * x**5 - 15 * x**4 + 10 * x**3
    return 0.4 * ((1 - fade) * slope(cell) * x + fade * slope(cell + 1) * (x - 1))


def plain_contours(
    words: npt.NDArray[np.uint32],
    start: Sequence[float],
    perlin_px: float,
    gap_px: float,
    centre_px: Sequence[float],
    scale: float = 1.0,
) -> list[list[list[int]]]:
    """Return what grow_contours writes, computed one vertex and axis at a time."""
    n_contours, n_vertices, _ = words.shape
    unit = directions(n_vertices).tolist()
    position = [[start[axis] * unit[v][axis] for axis in range(2)] for v in range(n_vertices)]
    pixels = []
    for contour in range(n_contours):
        for v in range(n_vertices):
            for axis in range(2):
                u = np.float32((int(words[contour, v, axis]) + 0.5) * (10_000.0 * 2.0**-32))
                noise = 2.0 * perlin_px * perlin_at(u) - perlin_px
                position[v][axis] -= unit[v][axis] * (noise - gap_px)
        pixels.append([[int((p + c) * scale) for p, c in zip(point, centre_px, strict=True)] for point in position])
    return pixels


@pytest.mark.parametrize(
    ("u", "noise"),
    [
        (0.5, 0.699999988),
        (1.25, 0.120703124),
        (3.75, 0.05859375),
        (100.5, 0.30000001),
        (255.5, -0.30000001),
        (256.5, 0.69999999),
        (1023.5, -0.30000001),
        (1024.25, 0.68613285),
        (9999.5, 0.30000001),
    ],
)
def test_noise_matches_the_published_library(u: float, noise: float) -> None:
    """Source: pnoise1 of the C extension `noise` 1.2.2, in float32."""
    assert perlin_at(u) == np.float32(noise)


def test_permutation_is_the_published_librarys() -> None:
    """Source: the first 256 bytes of PERM in _noise.h of `noise` 1.2.2."""
    assert sorted(PERMUTATION.tolist()) == list(range(256))
    digest = hashlib.sha256(PERMUTATION.tobytes()).hexdigest()
    assert digest == "3682c3d0020436c45462995a4f64438c144bbfeba725b00de5906ab322b6b915"


@settings(deadline=None, max_examples=500)
@given(st.floats(0, 10_000, width=32))
def test_noise_matches_the_plain_formula(u: float) -> None:
    assert abs(perlin_at(u) - plain_perlin(u)) < 4e-6


@settings(deadline=None)
@given(st.integers(0, 256 * 16 - 1), st.integers(1, 30))
def test_noise_repeats_every_256(sixteenths: int, periods: int) -> None:
    assert perlin_at(sixteenths / 16 + 256 * periods) == perlin_at(sixteenths / 16)


def test_no_shorter_period_than_256() -> None:
    lattice = np.array([perlin_at(cell + 0.5) for cell in range(512)])
    periods = [period for period in range(1, 257) if np.array_equal(lattice[period : period + 256], lattice[:256])]
    assert periods == [256]


@pytest.mark.parametrize("cell", [0, 1, 17, 255, 256, 9999])
def test_noise_vanishes_at_whole_numbers(cell: int) -> None:
    assert perlin_at(float(cell)) == 0.0
    assert abs(perlin_at(np.nextafter(np.float32(cell), np.float32(math.inf)))) < 4e-3


@settings(deadline=None)
@given(
    st.integers(1, 5),
    st.integers(3, 9),
    st.integers(0, 2**32 - 1),
    st.tuples(st.floats(0, 200), st.floats(0, 200)),
    st.floats(0, 4),
    st.floats(0, 0.1),
    st.tuples(st.floats(56, 456), st.floats(56, 456)),
    st.sampled_from([0.125, 64 / 512, 224 / 512, 1.0, 2.0, 10_000.0]),
)
def test_contours_match_the_plain_loop(
    n_contours: int,
    n_vertices: int,
    seed: int,
    start: tuple[float, float],
    perlin_px: float,
    gap_px: float,
    centre_px: tuple[float, float],
    scale: float,
) -> None:
    words = np.random.default_rng(seed).integers(0, 2**32, (n_contours, n_vertices, 2), dtype=np.uint32)
    vertices_px = np.zeros(words.shape, dtype=np.int32)
    arrays = np.array(start), np.array(centre_px)
    grow_contours(words, GRADIENTS, directions(n_vertices), arrays[0], perlin_px, gap_px, arrays[1], scale, vertices_px)
    assert vertices_px.tolist() == plain_contours(words, start, perlin_px, gap_px, centre_px, scale)


def test_contours_without_noise_are_a_gap_apart() -> None:
    words = np.zeros((3, 4, 2), dtype=np.uint32)
    vertices_px = np.zeros(words.shape, dtype=np.int32)
    grow_contours(
        words, GRADIENTS, directions(4), np.array([10.0, 20.0]), 0.0, 5.0, np.array([50.5, 60.5]), 1.0, vertices_px
    )
    for contour, moved in enumerate((5, 10, 15)):
        right, down, left, up = vertices_px[contour].tolist()
        assert right == [60 + moved, 60]
        assert down == [50, 80 + moved]
        assert left == [40 - moved, 60]
        assert up == [50, 40 - moved]


def test_mean_growth_is_the_perlin_coefficient() -> None:
    n_contours, coefficient = 2000, 3.0
    words = np.random.default_rng(0).integers(0, 2**32, (n_contours, 4, 2), dtype=np.uint32)
    vertices_px = np.zeros(words.shape, dtype=np.int32)
    grow_contours(words, GRADIENTS, directions(4), np.zeros(2), coefficient, 0.0, np.zeros(2), 1.0, vertices_px)
    grown = [vertices_px[-1, 0, 0], vertices_px[-1, 1, 1], -vertices_px[-1, 2, 0], -vertices_px[-1, 3, 1]]
    mean_noise = np.mean([plain_perlin(u / 64) for u in range(256 * 64)])
    expected = n_contours * coefficient * (1.0 - 2.0 * mean_noise)
    assert grown == pytest.approx([expected] * 4, rel=0.1)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.125, 0.4375, 1.0]))
def test_larger_image_has_the_same_vertices(seed: int, scale: float) -> None:
    words = np.random.default_rng(seed).integers(0, 2**32, (4, 9, 2), dtype=np.uint32)
    small, large = np.zeros(words.shape, dtype=np.int32), np.zeros(words.shape, dtype=np.int32)
    for factor, vertices_px in ((scale, small), (2 * scale, large)):
        start, centre = np.array([30.0, 50.0]), np.array([250.0, 300.5])
        grow_contours(words, GRADIENTS, directions(9), start, 4.0, 0.1, centre, factor, vertices_px)
    assert np.array_equal(large // 2, small)
