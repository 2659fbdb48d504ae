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
_STEP, _SIDE_STEP, _RUN, _RISE = range(4)


@njit(cache=True)
def _prepare_edges(x, y, width, height, edges, places):
    """Say of each edge of a polygon where it lies, and how it is walked.

    Parameters
    ----------
    x, y : int32 (vertices + 1,), px; the last vertex is the first again
    edges : int32 (4, vertices), written; the steps along the longer axis and to the side, by which a pixel's number changes,
        and the lengths of both axes, px
    places : uint8 (vertices,), written; _OUTSIDE, _ACROSS or _INSIDE
    """
    for v in range(places.shape[0]):
        left, right, top, bottom = min(x[v], x[v + 1]), max(x[v], x[v + 1]), min(y[v], y[v + 1]), max(y[v], y[v + 1])
        is_inside = (left >= 0) & (right < width) & (top >= 0) & (bottom < height)
        is_met = (right >= 0) & (left < width) & (bottom >= 0) & (top < height)
        places[v] = _INSIDE if is_inside else _ACROSS if is_met else _OUTSIDE
        run, rise, is_steep = right - left, bottom - top, bottom - top > right - left
        step, side_step = (1 if x[v + 1] >= x[v] else -1), (width if y[v + 1] >= y[v] else -width)
        edges[_STEP, v], edges[_SIDE_STEP, v] = (side_step if is_steep else step), (step if is_steep else side_step)
        edges[_RUN, v], edges[_RISE, v] = (rise if is_steep else run), (run if is_steep else rise)


@njit(cache=True)
def _within(start, end, n):
    """Return the first and the last step on the way from one int64 to another that is in 0..n-1."""
    first, last = (-start, n - 1 - start) if end >= start else (start - n + 1, start)
    return max(first, 0), min(last, abs(end - start))


@njit(cache=True)
def _clip(x, y, x_end, y_end, width, height):
    """Return the first and the last step, int64, of a line that is inside the image; the first is greater if there is none.

    A line has made (2 rise k + run) // 2 run steps to the side by its step k. Its ends, px, are in -2**29..2**29.
    """
    x, y, x_end, y_end = np.int64(x), np.int64(y), np.int64(x_end), np.int64(y_end)
    if abs(y_end - y) > abs(x_end - x):
        x, y, x_end, y_end, width, height = y, x, y_end, x_end, height, width
    first, last = _within(x, x_end, width)
    low, high = _within(y, y_end, height)
    run, rise = abs(x_end - x), abs(y_end - y)
    if low > 0:
        first = max(first, (run * (2 * low - 1) + 2 * rise - 1) // (2 * rise))
    if high < rise:
        last = min(last, (run * (2 * high + 1) - 1) // (2 * rise))
    return first, last


@njit(cache=True)
def _draw_line(start, step, side_step, run, rise, first, last, grey, pixels):
    """Draw a part of a line, which must lie inside the image.

    Parameters
    ----------
    start : int64; the number that the line's first pixel has, or would have: it may lie outside
    step, side_step, run, rise : int32; of `_prepare_edges`
    first, last : int64; the steps of the part, 0..run
    grey : uint8
    pixels : uint8 (height * width,), written

    The part is walked from both of its ends, for each step must wait for the one before. `done` counts in pixels' numbers,
    not in steps, lest the compiler unroll the loop, which does not pay: lines are short, and how short cannot be guessed.
    """
    run, rise = np.int64(run), np.int64(rise)
    side, rest = (0, run) if first == 0 else divmod(2 * rise * first + run, 2 * run)
    side_back, rest_back = (rise, run) if last == run else divmod(2 * rise * last + run, 2 * run)
    pixel, pixel_back = start + first * step + side * side_step, start + last * step + side_back * side_step
    pixels[np.uint64(pixel)] = pixels[np.uint64(pixel_back)] = grey
    rest += 2 * rise - 2 * run  # the remainder of the next step, less what makes it one to the side
    rest_back -= 2 * rise
    done, stride = 0, 2 * abs(step)
    while done + stride <= (last - first) * abs(step):
        pixel += step + side_step if rest >= 0 else step
        rest += 2 * rise - 2 * run if rest >= 0 else 2 * rise
        pixel_back -= step + side_step if rest_back < 0 else step
        rest_back -= 2 * rise - 2 * run if rest_back < 0 else 2 * rise
        pixels[np.uint64(pixel)] = pixels[np.uint64(pixel_back)] = grey
        done += stride


@njit(cache=True)
def draw_polygons(vertices_px, greys, kept, image):
    """Draw closed polygons over each other in order, with 1 px Bresenham lines from vertex to vertex, clipped to the image.

    The clipped line's pixels are those of the unclipped one that lie inside.

    Parameters
    ----------
    vertices_px : int32 (polygons, vertices, 2), px; axis 2 is (x, y); may lie outside the image, but within -2**29..2**29
    greys : uint8 (polygons,)
    kept : bool (polygons, vertices); False leaves out the edge that starts at this vertex
    image : uint8 (height, width), contiguous, written
    """
    n_polygons, n, _ = vertices_px.shape
    height, width = image.shape
    pixels = image.reshape(-1)
    x, y = np.empty(n + 1, dtype=np.int32), np.empty(n + 1, dtype=np.int32)
    edges, places = np.empty((4, n), dtype=np.int32), np.empty(n, dtype=np.uint8)
    for p in range(n_polygons):
        for v in range(n):
            x[v], y[v] = vertices_px[p, v, 0], vertices_px[p, v, 1]
        x[n], y[n] = x[0], y[0]
        _prepare_edges(x, y, width, height, edges, places)
        for v in range(n):
            if not kept[p, v] or places[v] == _OUTSIDE:
                continue
            step, side_step, run, rise = edges[_STEP, v], edges[_SIDE_STEP, v], edges[_RUN, v], edges[_RISE, v]
            start = np.int64(y[v]) * width + x[v]
            if places[v] == _INSIDE:  # compiled apart from the other call, without its divisions
                _draw_line(start, step, side_step, run, rise, 0, run, greys[p], pixels)
            else:
                first, last = _clip(x[v], y[v], x[v + 1], y[v + 1], width, height)
                if first <= last:
                    _draw_line(start, step, side_step, run, rise, first, last, greys[p], pixels)
