"""Bresenham lines: closed polygons drawn into an image."""

import numpy as np
from numba import njit

_OUTSIDE, _ACROSS, _INSIDE = 0, 1, 2
_STEP, _SIDE_STEP, _RUN, _RISE = range(4)


@njit(cache=True)
def _prepare_edges(x, y, width, height, edges, places):
    """Classify each edge of a polygon and prepare its walk.

    Parameters
    ----------
    x, y : int32 (vertices + 1,), px; the last vertex repeats the first
    width, height : int64, px; size of the image
    edges : int32 (4, vertices), written; rows _STEP and _SIDE_STEP: change of the flat pixel index per step along the
        long axis and to the side; rows _RUN and _RISE: length along the long and the short axis, px
    places : uint8 (vertices,), written; _OUTSIDE, _ACROSS or _INSIDE the image
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
    """Return the first and last step that lie in 0..n-1."""
    first, last = (-start, n - 1 - start) if end >= start else (start - n + 1, start)
    return max(first, 0), min(last, abs(end - start))


@njit(cache=True)
def _clip(x, y, x_end, y_end, width, height):
    """Return the first and last step of a line inside the image.

    After k steps along the long axis, a line has moved (2 rise k + run) // (2 run) px along the short one.

    Parameters
    ----------
    x, y, x_end, y_end : int32, -2**29 .. 2**29, px
    width, height : int64, px

    Returns
    -------
    first, last : int64; first > last if the line is outside
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
    """Draw steps `first` to `last` of a line.

    All must be inside the image. Walks from both ends at once, because each step depends on the one before. `done` counts
    flat pixel indices instead of steps, to keep LLVM from unrolling, which is slower for lines this short.

    Parameters
    ----------
    start : int64; flat index of the line's first pixel, which may be outside the image
    step, side_step, run, rise : int32; as in `_prepare_edges`
    first, last : int64, 0 .. run
    grey : uint8
    pixels : uint8 (height * width,), written
    """
    run, rise = np.int64(run), np.int64(rise)
    side, rest = (0, run) if first == 0 else divmod(2 * rise * first + run, 2 * run)
    side_back, rest_back = (rise, run) if last == run else divmod(2 * rise * last + run, 2 * run)
    pixel, pixel_back = start + first * step + side * side_step, start + last * step + side_back * side_step
    pixels[np.uint64(pixel)] = pixels[np.uint64(pixel_back)] = grey
    rest += 2 * rise - 2 * run  # remainder of the next step, minus the threshold of a side step
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
    """Draw closed polygons in order, with 1 px Bresenham lines.

    Clipping removes the pixels outside the image and moves none of the others.

    Parameters
    ----------
    vertices_px : int32 (polygons, vertices, 2), -2**29 .. 2**29, px; axis 2 is (x, y); may lie outside the image
    greys : uint8 (polygons,)
    kept : bool (polygons, vertices); False omits the edge that starts at this vertex
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
            if places[v] == _INSIDE:  # compiled separately from the other call, without its divisions
                _draw_line(start, step, side_step, run, rise, 0, run, greys[p], pixels)
            else:
                first, last = _clip(x[v], y[v], x[v + 1], y[v + 1], width, height)
                if first <= last:
                    _draw_line(start, step, side_step, run, rise, first, last, greys[p], pixels)
