"""The published procedure for ExFractalDB, in plain Python.

Renders views of a cloud, or tests one candidate, by the steps of the authors' code:

- a Python loop over the points with NumPy's random numbers, which compares cumulative probabilities one after the other and
  looks up each coefficient by its map and its name
- NumPy's minimum and maximum, Python's `sum` for the centroid
- for each cloud, the category's CSV file is read, and the points are written to disk and read back
- points and colours of a cloud are passed to the renderer as ctypes arrays of single floats

None of the authors' code is used. Where the two differ, this one is faster, so ratios are conservative:

- They render with OpenGL, in software where there is no display, and read back depths and pixels. Here NumPy projects the
  points and sets the pixels.
- They write the cloud as a .ply file with one library and read it with another. Here it is a plain binary file.
- They continue a game that has overflowed. Here it stops.

A tuned Python loop over the points would be faster. This is what was published, not the fastest Python.

Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
"""

from __future__ import annotations

import ctypes
import math
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float64]
System = tuple[list[dict[str, float]], list[float]]
"""Maps, each with its coefficients a..l by name, and their probabilities."""

Cloud = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Points and their colours, as the renderer takes them: float32 (points, 3) each."""

N_POINTS = 10_000
_CHECK_EVERY = 100
_NAMES = "abcdefghijkl"
_VARIANCE_THRESHOLD = 0.05

_CAMERA_DISTANCE = 4.0
_FOCAL_LENGTH = 1.0 / math.tan(math.radians(45.0) / 2.0)


def system_of(maps: list[list[float]], probability: list[float]) -> System:
    """Return a category as `play` takes it.

    Parameters
    ----------
    maps : coefficients a..l of each map
    """
    return [dict(zip(_NAMES, coefficients, strict=True)) for coefficients in maps], probability


def read_system(path: Path) -> System:
    """Return the category in a CSV file: a..l and probability per row."""
    rows = np.atleast_2d(np.genfromtxt(path, dtype=str, delimiter=","))
    return system_of([list(map(float, row[:12])) for row in rows], [float(row[12]) for row in rows])


class _Trace:
    """Points of a game, one list per axis.

    The lists are looked up at every point, as in the authors' code.
    """

    def __init__(self) -> None:
        self.xs: list[float] = []
        self.ys: list[float] = []
        self.zs: list[float] = []


def play(system: System, rng: np.random.Generator) -> Floats | None:
    """Return 10,000 points of the chaos game from the origin.

    Returns
    -------
    float64 (3, points); None if a point overflows
    """
    maps, probability = system
    cumulative = list(accumulate(probability[:-1] + [1.0]))
    randoms = rng.random(N_POINTS)
    trace = _Trace()
    x = y = z = 0.0
    for start in range(0, N_POINTS, _CHECK_EVERY):
        for i in range(start, start + _CHECK_EVERY):
            for k in range(len(cumulative)):
                if randoms[i] <= cumulative[k]:
                    next_x = maps[k]["a"] * x + maps[k]["b"] * y + maps[k]["c"] * z + maps[k]["j"]
                    next_y = maps[k]["d"] * x + maps[k]["e"] * y + maps[k]["f"] * z + maps[k]["k"]
                    next_z = maps[k]["g"] * x + maps[k]["h"] * y + maps[k]["i"] * z + maps[k]["l"]
                    break
            trace.xs.append(next_x)
            trace.ys.append(next_y)
            trace.zs.append(next_z)
            x, y, z = next_x, next_y, next_z
        if not math.isfinite(x + y + z):
            return None
    return np.array((trace.xs, trace.ys, trace.zs))


def normalise(points: Floats) -> Floats:
    """Return points scaled to [-1, 1] over all axes, then centred.

    Parameters
    ----------
    points : float64 (3, points), as is the result
    """
    low, high = points.min(), points.max()
    points = 2.0 * (points - low) / (high - low) - 1.0
    return np.array([(axis - sum(axis) / N_POINTS).tolist() for axis in points])


def rotation(variant: SimpleNamespace) -> Floats:
    """Return the matrix of an image's viewpoint: float64 (3, 3)."""
    w, x, y, z = variant.qw, variant.qx, variant.qy, variant.qz
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def through_file(points: Floats, path: Path) -> npt.NDArray[np.float32]:
    """Write points, read them back, and return float32 (points, 3)."""
    points.T.tofile(path)
    return np.fromfile(path).reshape(-1, 3).astype(np.float32)


def through_ctypes(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Copy an array into a C array, float by float."""
    copied = (ctypes.c_float * values.size)(*values.reshape(values.size))
    return np.frombuffer(copied, dtype=np.float32).reshape(values.shape)


def plot(cloud: Cloud, view: Floats, size_px: int) -> Image.Image:
    """Return white points on black, RGB, seen from 4 units along +z.

    Parameters
    ----------
    view : float64 (3, 3); rotation
    """
    points, greys = cloud
    x, y, z = np.einsum("ij,kj->ik", view, points)
    half = size_px / 2.0
    pixels_per_unit = half * _FOCAL_LENGTH / (_CAMERA_DISTANCE - z)
    column = np.floor(half + x * pixels_per_unit).astype(np.int64)
    row = np.floor(half - y * pixels_per_unit).astype(np.int64)
    inside = (column >= 0) & (column < size_px) & (row >= 0) & (row < size_px)
    pixels = np.zeros((size_px, size_px, 3), dtype=np.uint8)
    pixels[row[inside], column[inside]] = 255 * greys[inside]
    return Image.fromarray(pixels)


def draw_cloud(parameters: Path, file: Path, variant: SimpleNamespace, rng: np.random.Generator) -> Cloud | None:
    """Return the points of a weighted system; None if it diverges.

    Parameters
    ----------
    parameters : the category's CSV file
    file : for the points
    variant : weight; attributes as in `exfractal.render.Variant`
    """
    maps, probability = read_system(parameters)
    if variant.coefficient >= 0:
        name = _NAMES[variant.coefficient]
        maps = [{**coefficients, name: variant.factor * coefficients[name]} for coefficients in maps]
    points = play((maps, probability), rng)
    if points is None:
        return None
    stored = through_file(normalise(points), file)
    return through_ctypes(stored), through_ctypes(np.ones(stored.shape, dtype=np.float32))


def draw_candidate(rng: np.random.Generator) -> System:
    """Draw a random system of 2..7 maps with coefficients in (-1, 1).

    The probability of a map is proportional to its determinant's absolute value.
    """
    maps = rng.uniform(-1.0, 1.0, (rng.integers(2, 8), 12))
    determinants = np.array([abs(np.linalg.det(coefficients[:9].reshape(3, 3))) for coefficients in maps])
    return system_of(maps.tolist(), (determinants / determinants.sum()).tolist())


def is_category(system: System, rng: np.random.Generator) -> bool:
    """Return whether a candidate becomes a category.

    It must be finite and vary by more than 0.05 along each axis.
    """
    points = play(system, rng)
    if points is None:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool((normalise(points).var(axis=1) > _VARIANCE_THRESHOLD).all())
