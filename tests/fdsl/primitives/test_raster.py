"""Lines match Bresenham and PIL, clipped; polygons are closed and drawn in order."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fdsl.primitives.raster import draw_polygons
from tests import line_pixels, paint

WIDTH, HEIGHT = 23, 17
INSIDE = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1))
NEAR = st.tuples(st.integers(-WIDTH, 2 * WIDTH), st.integers(-HEIGHT, 2 * HEIGHT))
FAR = st.tuples(st.integers(-3000, 3000), st.integers(-3000, 3000))

Segment = tuple[int, int, int, int]
Polygons = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.bool_]]


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """Return x, y, x_end, y_end of a line.

    Any line, or one that is level, upright, diagonal, often midway between two pixels, or a point.
    """
    x, y = draw(INSIDE | NEAR | FAR)
    x_end, y_end = draw(INSIDE | NEAR | FAR)
    n = draw(st.integers(-60, 60))
    ends = [(x_end, y_end), (x_end, y_end), (x, y_end), (x_end, y), (x + n, y + n), (x + n, y - n), (x, y)]
    ends += [(x + 2 * n, y + n), (x + 2 * n, y - n), (x + n, y + 2 * n)]
    return (x, y, *draw(st.sampled_from(ends)))


@st.composite
def polygons(draw: st.DrawFn) -> Polygons:
    """Return vertices_px, greys and kept of a few polygons, partly outside the image."""
    shape = draw(st.integers(1, 4)), draw(st.integers(3, 6))
    n_edges = shape[0] * shape[1]
    corners = draw(st.lists(NEAR, min_size=n_edges, max_size=n_edges))
    greys = draw(st.lists(st.integers(0, 254), min_size=shape[0], max_size=shape[0], unique=True))
    kept = draw(st.lists(st.booleans(), min_size=n_edges, max_size=n_edges))
    return (
        np.array(corners, dtype=np.int32).reshape(*shape, 2),
        np.array(greys, dtype=np.uint8),
        np.array(kept, dtype=np.bool_).reshape(shape),
    )


def draw_line(segment: Segment, grey: int, image: npt.NDArray[np.uint8]) -> None:
    """Draw one line: a polygon of two vertices, of which only the first edge is kept."""
    vertices = np.array(segment, dtype=np.int32).reshape(1, 2, 2)
    draw_polygons(vertices, np.array([grey], dtype=np.uint8), np.array([[True, False]]), image)


def image_of(segment: Segment, grey: int = 9) -> npt.NDArray[np.uint8]:
    """Return a black image with one line. Fails if the line writes outside the image's memory."""
    memory = np.zeros((3 * HEIGHT, WIDTH), dtype=np.uint8)
    inner = memory[HEIGHT : 2 * HEIGHT]
    draw_line(segment, grey, inner)
    image = inner.copy()
    inner[:] = 0
    assert not memory.any()
    return image


@settings(deadline=None, max_examples=500)
@given(segments(), st.integers(1, 255))
def test_line_is_the_clipped_bresenham_line(segment: Segment, grey: int) -> None:
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    paint(line_pixels(*segment), grey, expected)
    assert np.array_equal(image_of(segment, grey), expected)


@settings(deadline=None, max_examples=500)
@given(st.tuples(*[st.integers(-(2**29), 2**29)] * 2), st.tuples(*[st.integers(-(2**29), 2**29)] * 2), st.data())
def test_far_line_is_exact(start: tuple[int, int], end: tuple[int, int], data: st.DataObject) -> None:
    """Lines through a point of the image; Python's integers give the pixel of each column or row."""
    through = data.draw(INSIDE)
    start = data.draw(st.sampled_from([start, (2 * through[0] - end[0], 2 * through[1] - end[1])]))
    assume(all(abs(coordinate) <= 2**29 for coordinate in start))
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    run, rise = abs(end[0] - start[0]), abs(end[1] - start[1])
    across = 0 if run >= rise else 1
    run, rise = max(run, rise), min(run, rise)
    signs = [1 if end[axis] >= start[axis] else -1 for axis in (0, 1)]
    for place in range((WIDTH, HEIGHT)[across]):
        step = (place - start[across]) * signs[across]
        side = start[1 - across] + signs[1 - across] * ((2 * rise * step + run) // (2 * run) if run else 0)
        x, y = (place, side) if across == 0 else (side, place)
        if 0 <= step <= run and 0 <= x < WIDTH and 0 <= y < HEIGHT:
            expected[y, x] = 9
    assert np.array_equal(image_of((*start, *end)), expected)


@settings(deadline=None, max_examples=500)
@given(segments())
def test_line_matches_pil(segment: Segment) -> None:
    """Inside, across the border and far outside. PIL, too, rounds a half away from the line's start."""
    picture = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(picture).line(segment, fill=9)
    assert np.array_equal(image_of(segment), np.asarray(picture))


@settings(deadline=None, max_examples=500)
@given(INSIDE, INSIDE)
def test_line_matches_opencv(start: tuple[int, int], end: tuple[int, int]) -> None:
    """Where a line passes exactly between two pixels, OpenCV chooses the end to start from."""
    picture = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    cv2.line(picture, start, end, 9, 1, cv2.LINE_8)
    forward, backward = image_of((*start, *end)), image_of((*end, *start))
    run, rise = sorted((abs(end[0] - start[0]), abs(end[1] - start[1])), reverse=True)
    if any(2 * step * rise % (2 * run) == run for step in range(run)):
        assert np.array_equal(picture, forward) or np.array_equal(picture, backward)
    else:
        assert np.array_equal(picture, forward)
        assert np.array_equal(picture, backward)


@settings(deadline=None)
@given(INSIDE, INSIDE)
def test_line_has_one_pixel_per_step(start: tuple[int, int], end: tuple[int, int]) -> None:
    image = image_of((*start, *end))
    assert image[start[1], start[0]] == image[end[1], end[0]] == 9
    assert np.count_nonzero(image) == max(abs(start[0] - end[0]), abs(start[1] - end[1])) + 1


@settings(deadline=None, max_examples=300)
@given(polygons())
def test_polygons_are_their_kept_edges(stack: Polygons) -> None:
    vertices, greys, kept = stack
    expected = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    for polygon, grey, edges in zip(vertices.tolist(), greys.tolist(), kept.tolist(), strict=True):
        for start, end, keep in zip(polygon, polygon[1:] + polygon[:1], edges, strict=True):
            if keep:
                paint(line_pixels(*start, *end), grey, expected)
    image = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    draw_polygons(vertices, greys, kept, image)
    assert np.array_equal(image, expected)


def test_polygon_is_closed() -> None:
    square = np.array([[[2, 2], [8, 2], [8, 8], [2, 8]]], dtype=np.int32)
    sides = (np.s_[2, 3:8], np.s_[3:8, 8], np.s_[8, 3:8], np.s_[3:8, 2])
    for omitted in (None, 0, 1, 2, 3):
        kept = np.array([[side != omitted for side in range(4)]])
        image = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        draw_polygons(square, np.array([7], dtype=np.uint8), kept, image)
        assert [set(image[side].tolist()) for side in sides] == [{7} if keep else {0} for keep in kept[0]]


def test_later_polygon_overwrites_earlier() -> None:
    squares = np.array([[[2, 2], [8, 2], [8, 8], [2, 8]], [[5, 0], [12, 0], [12, 12], [5, 12]]], dtype=np.int32)
    for order in ((0, 1), (1, 0)):
        image = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        greys = np.array([7, 9], dtype=np.uint8)
        draw_polygons(squares[list(order)], greys, np.ones((2, 4), dtype=np.bool_), image)
        assert image[2, 5] == image[8, 5] == 9
