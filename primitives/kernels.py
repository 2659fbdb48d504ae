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


@njit(cache=True)
def _draw_line_inside(x, y, x_end, y_end, grey, width, pixels):
    """Draw a line whose ends lie inside the image, whose rows stand one after the other in `pixels`."""
    run, rise = abs(x_end - x), abs(y_end - y)
    step, side_step = (1 if x_end >= x else -1), (width if y_end >= y else -width)
    if rise > run:
        run, rise, step, side_step = rise, run, side_step, step
    pixel, error = y * width + x, 2 * rise - run
    last = pixel + run * step
    pixels[np.uint64(pixel)] = grey
    while pixel != last:
        if error >= 0:
            pixel += side_step
            last += side_step
            error -= 2 * run
        pixel += step
        error += 2 * rise
        pixels[np.uint64(pixel)] = grey


@njit(cache=True)
def _draw_line_across(x, y, x_end, y_end, grey, image):
    """Draw those pixels of a line that lie inside the image."""
    height, width = image.shape
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
    n_polygons, n_vertices, _ = vertices_px.shape
    height, width = image.shape
    pixels = image.reshape(-1)
    for p in range(n_polygons):
        x_end, y_end = np.int64(vertices_px[p, 0, 0]), np.int64(vertices_px[p, 0, 1])
        for v in range(n_vertices - 1, -1, -1):
            x, y = np.int64(vertices_px[p, v, 0]), np.int64(vertices_px[p, v, 1])
            if kept[p, v]:
                left, right, top, bottom = min(x, x_end), max(x, x_end), min(y, y_end), max(y, y_end)
                if left >= 0 and right < width and top >= 0 and bottom < height:
                    _draw_line_inside(x, y, x_end, y_end, greys[p], width, pixels)
                elif right >= 0 and left < width and bottom >= 0 and top < height:
                    _draw_line_across(x, y, x_end, y_end, greys[p], image)
            x_end, y_end = x, y
