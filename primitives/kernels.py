"""Random words and straight lines: what the families' kernels have in common."""

import numpy as np
from numba import njit

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEP_0, _KEY_STEP_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10


@njit(cache=True)
def philox4x32(key_0, key_1, counter_1, counter_2, counter_3, out):
    """Fill `out` with the blocks 0, 1, 2... of one stream.

    Parameters
    ----------
    key_0, key_1 : int64, 0 .. 2**32 - 1
    counter_1, counter_2, counter_3 : int64, 0 .. 2**32 - 1; word 0 of the counter is the block's number
    out : uint32 (4 * blocks,), written
    """
    for block in range(out.shape[0] // 4):
        c0, c1, c2, c3 = np.uint64(block), np.uint64(counter_1), np.uint64(counter_2), np.uint64(counter_3)
        k0, k1 = np.uint64(key_0), np.uint64(key_1)
        for _ in range(_ROUNDS):
            product_0, product_1 = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
            c0, c1 = (product_1 >> _HALF) ^ c1 ^ k0, product_1 & _LOW
            c2, c3 = (product_0 >> _HALF) ^ c3 ^ k1, product_0 & _LOW
            k0, k1 = (k0 + _KEY_STEP_0) & _LOW, (k1 + _KEY_STEP_1) & _LOW
        out[4 * block] = c0
        out[4 * block + 1] = c1
        out[4 * block + 2] = c2
        out[4 * block + 3] = c3


@njit(cache=True)
def philox4x32_each(key_0, key_1, counters_1, counter_2, counter_3, out):
    """Fill each row of `out` as `philox4x32` does, with its own word 1 of the counter: int64 (rows,)."""
    for row in range(out.shape[0]):
        philox4x32(key_0, key_1, counters_1[row], counter_2, counter_3, out[row])


_OUTSIDE, _ACROSS, _INSIDE = 0, 1, 2
_START, _STEP, _SIDE_STEP, _RUN, _RISE = range(5)


@njit(cache=True)
def _prepare_edges(x, y, width, height, edges, places):
    """Say of each edge of a polygon where it lies, and how it is walked if it lies inside the image.

    Parameters
    ----------
    x, y : int32 (vertices + 1,), px; the last vertex is the first again
    edges : int32 (5, vertices), written; the number of the first pixel, the steps along the longer axis and to the side, by
        which that number changes, and the lengths of both axes, px
    places : uint8 (vertices,), written; _OUTSIDE, _ACROSS or _INSIDE
    """
    for v in range(places.shape[0]):
        left, right, top, bottom = min(x[v], x[v + 1]), max(x[v], x[v + 1]), min(y[v], y[v + 1]), max(y[v], y[v + 1])
        is_inside = (left >= 0) & (right < width) & (top >= 0) & (bottom < height)
        is_met = (right >= 0) & (left < width) & (bottom >= 0) & (top < height)
        places[v] = _INSIDE if is_inside else _ACROSS if is_met else _OUTSIDE
        run, rise, is_steep = right - left, bottom - top, bottom - top > right - left
        step, side_step = (1 if x[v + 1] >= x[v] else -1), (width if y[v + 1] >= y[v] else -width)
        edges[_START, v] = y[v] * width + x[v]
        edges[_STEP, v], edges[_SIDE_STEP, v] = (side_step if is_steep else step), (step if is_steep else side_step)
        edges[_RUN, v], edges[_RISE, v] = (rise if is_steep else run), (run if is_steep else rise)


@njit(cache=True)
def _draw_line_inside(pixel, step, side_step, run, rise, grey, pixels):
    """Draw a line that lies inside the image, whose rows stand one after the other in `pixels`: see `_prepare_edges`."""
    pixel, error = np.int64(pixel), np.int64(2 * rise - run)
    pixels[np.uint64(pixel)] = grey
    for _ in range(run):
        pixel += step + side_step if error >= 0 else step
        error += 2 * rise - 2 * run if error >= 0 else 2 * rise
        pixels[np.uint64(pixel)] = grey


@njit(cache=True)
def _draw_line_across(x, y, x_end, y_end, grey, image):
    """Draw those pixels of a line that lie inside the image; its ends may lie as far outside as int32 goes."""
    height, width = image.shape
    x, y, x_end, y_end = np.int64(x), np.int64(y), np.int64(x_end), np.int64(y_end)
    step_x, step_y = (1 if x_end >= x else -1), (1 if y_end >= y else -1)
    run_x, run_y = abs(x_end - x), abs(y_end - y)
    steps = max(run_x, run_y)
    error_x, error_y = 2 * run_x - steps, 2 * run_y - steps
    for _ in range(steps + 1):
        if 0 <= x < width and 0 <= y < height:
            image[y, x] = grey
        if error_x >= 0:
            x += step_x
            error_x -= 2 * steps
        if error_y >= 0:
            y += step_y
            error_y -= 2 * steps
        error_x += 2 * run_x
        error_y += 2 * run_y


@njit(cache=True)
def draw_polygons(vertices_px, greys, kept, image):
    """Draw closed polygons over each other in order, with 1 px Bresenham lines from vertex to vertex, clipped to the image.

    The clipped line's pixels are those of the unclipped one that lie inside.

    Parameters
    ----------
    vertices_px : int32 (polygons, vertices, 2), px; axis 2 is (x, y); may lie outside the image
    greys : uint8 (polygons,)
    kept : bool (polygons, vertices); False leaves out the edge that starts at this vertex
    image : uint8 (height, width), contiguous, written
    """
    n_polygons, n, _ = vertices_px.shape
    height, width = image.shape
    pixels = image.reshape(-1)
    x, y = np.empty(n + 1, dtype=np.int32), np.empty(n + 1, dtype=np.int32)
    edges, places = np.empty((5, n), dtype=np.int32), np.empty(n, dtype=np.uint8)
    for p in range(n_polygons):
        for v in range(n):
            x[v], y[v] = vertices_px[p, v, 0], vertices_px[p, v, 1]
        x[n], y[n] = x[0], y[0]
        _prepare_edges(x, y, width, height, edges, places)
        for v in range(n):
            if not kept[p, v] or places[v] == _OUTSIDE:
                continue
            if places[v] == _INSIDE:
                start, step, side_step = edges[_START, v], edges[_STEP, v], edges[_SIDE_STEP, v]
                _draw_line_inside(start, step, side_step, edges[_RUN, v], edges[_RISE, v], greys[p], pixels)
            else:
                _draw_line_across(x[v], y[v], x[v + 1], y[v + 1], greys[p], image)
