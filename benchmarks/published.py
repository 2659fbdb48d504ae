"""The published procedure, written plainly in Python: what our speed is compared with.

It draws what our own families draw, one image or one candidate at a time, by the steps of the authors' code: a Python loop
over the points, with NumPy's random numbers, the cumulative probabilities tried in turn, and each coefficient looked up by
its map and its name; NumPy's minimum and maximum, Python's `sum` for the centroid, lists and an array again; the category's
CSV file read for each image, a point cloud written to the disk and read, both of its arrays handed over as ctypes arrays of
single floats; for contours, a script (`published_contours.py`) with a loop over contours and vertices, a C extension's noise
for each axis of each vertex, one PIL line for each edge, and all images of a category kept in memory; PIL's RGB image and
default PNG; tarfile. None of their code is in here.

Where the two differ, this is the faster one, so that the ratios are on the low side:

- They draw each cloud with OpenGL, in software where there is no display, and read the depths as well as the pixels. Here
  NumPy projects the points and sets the pixels.
- They write the cloud as a .ply file with one library and read it with another. Here it is NumPy's own plain file.
- They play on when a system has overflowed; here the game stops.
- They write a PNG to the disk, to be packed later. Here it goes straight into a tar, which is neither flushed nor hashed.

A tuned Python loop over the points is faster still: this is what was published, not the best that Python can do.

Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
"""

from __future__ import annotations

import ctypes
import io
import math
import random
import tarfile
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from exfractal import Drawn as Fractal
from rcdb import Drawn as Contours

Floats = npt.NDArray[np.float64]
System = tuple[list[dict[str, float]], list[float]]
"""The maps, each with its coefficients a..l by their names, and the maps' probabilities."""

N_POINTS = 10_000
_CHECK_EVERY = 100
_NAMES = "abcdefghijkl"
_VARIANCE_THRESHOLD = 0.05

_CAMERA_DISTANCE = 4.0
_FOCAL_LENGTH = 1.0 / math.tan(math.radians(45.0) / 2.0)

_CONTOURS = compile(Path(__file__).with_name("published_contours.py").read_text(), "published_contours.py", "exec")


def system_of(maps: list[list[float]], probability: list[float]) -> System:
    """Return a category in the form that `play` takes; `maps` has the 12 coefficients a..l of each map."""
    return [dict(zip(_NAMES, coefficients, strict=True)) for coefficients in maps], probability


def read_system(path: Path) -> System:
    """Return a category from a CSV file: a row for each map, its coefficients a..l and its probability."""
    rows = np.atleast_2d(np.genfromtxt(path, dtype=str, delimiter=","))
    return system_of([list(map(float, row[:12])) for row in rows], [float(row[12]) for row in rows])


class _Trace:
    """Where a game has been: a list for each axis, looked up at every point, as theirs are."""

    def __init__(self) -> None:
        self.xs: list[float] = []
        self.ys: list[float] = []
        self.zs: list[float] = []


def play(system: System, rng: np.random.Generator) -> Floats | None:
    """Return the 10,000 points of the chaos game from the origin: float64 (3, points); None if they overflow."""
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
    """Return points in [-1, 1] over all three axes, then centred; both float64 (3, points)."""
    low, high = points.min(), points.max()
    points = 2.0 * (points - low) / (high - low) - 1.0
    return np.array([(axis - sum(axis) / N_POINTS).tolist() for axis in points])


def rotation(fractal: Fractal) -> Floats:
    """Return the matrix of an image's viewpoint: float64 (3, 3), from the unit quaternion that was drawn."""
    w, x, y, z = fractal.qw, fractal.qx, fractal.qy, fractal.qz
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def through_file(points: Floats, path: Path) -> npt.NDArray[np.float32]:
    """Return points, float64 (3, points), as they come back from a file: float32 (points, 3)."""
    points.T.tofile(path)
    return np.fromfile(path).reshape(-1, 3).astype(np.float32)


def handed_over(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return an array as OpenGL is given it: copied into an array of C, float by float."""
    copied = (ctypes.c_float * values.size)(*values.reshape(values.size))
    return np.frombuffer(copied, dtype=np.float32).reshape(values.shape)


def plot(points: npt.NDArray[np.float32], view: Floats, size_px: int) -> Image.Image:
    """Return white points on black, RGB, seen in perspective from 4 units along +z; `points` is float32 (points, 3)."""
    x, y, z = np.einsum("ij,kj->ik", view, handed_over(points))
    greys = handed_over(np.ones(points.shape, dtype=np.float32))
    half = size_px / 2.0
    pixels_per_unit = half * _FOCAL_LENGTH / (_CAMERA_DISTANCE - z)
    column = np.floor(half + x * pixels_per_unit).astype(np.int64)
    row = np.floor(half - y * pixels_per_unit).astype(np.int64)
    inside = (column >= 0) & (column < size_px) & (row >= 0) & (row < size_px)
    pixels = np.zeros((size_px, size_px, 3), dtype=np.uint8)
    pixels[row[inside], column[inside]] = 255 * greys[inside]
    return Image.fromarray(pixels)


def fractal_image(
    parameters: Path, cloud: Path, fractal: Fractal, size_px: int, rng: np.random.Generator
) -> Image.Image | None:
    """Return one image of ExFractalDB, with its own weight, points and view; None if its system diverges.

    parameters : the category's CSV file. cloud : where its points are written, and read again.
    """
    maps, probability = read_system(parameters)
    if fractal.coefficient >= 0:
        name = _NAMES[fractal.coefficient]
        maps = [{**coefficients, name: fractal.factor * coefficients[name]} for coefficients in maps]
    points = play((maps, probability), rng)
    if points is None:
        return None
    return plot(through_file(normalise(points), cloud), rotation(fractal), size_px)


def draw_candidate(rng: np.random.Generator) -> System:
    """Draw a random system: 2..7 maps, coefficients in (-1, 1), probabilities in the ratio of the determinants."""
    maps = rng.uniform(-1.0, 1.0, (rng.integers(2, 8), 12))
    determinants = np.array([abs(np.linalg.det(coefficients[:9].reshape(3, 3))) for coefficients in maps])
    return system_of(maps.tolist(), (determinants / determinants.sum()).tolist())


def is_category(system: System, rng: np.random.Generator) -> bool:
    """Return whether a candidate's attractor stays finite and its variance along each axis exceeds 0.05."""
    points = play(system, rng)
    if points is None:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool((normalise(points).var(axis=1) > _VARIANCE_THRESHOLD).all())


def contours_image(contours: Contours, size_px: int, rng: random.Random, images: list[Image.Image]) -> Image.Image:
    """Return one image of RCDB, RGB: closed polygons around one centre on white, each grown from the last.

    images : those made before; they stay in memory, as theirs do until their category is done, and this one is added.
    """
    exec(_CONTOURS, {"given": (contours, size_px, rng, images)})
    return images[-1]


def add(tar: tarfile.TarFile, key: str, image: Image.Image, category: int) -> None:
    """Add an image as PIL's default PNG, and its label, to a tar."""
    file = io.BytesIO()
    image.save(file, format="png")
    for ending, payload in (("png", file.getvalue()), ("cls", str(category).encode())):
        member = tarfile.TarInfo(f"{key}.{ending}")
        member.size = len(payload)
        tar.addfile(member, io.BytesIO(payload))
