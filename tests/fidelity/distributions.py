"""Our random numbers, compared with the published laws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from exfractal import categories as systems
from exfractal.params import Params as FractalParams
from rcdb import categories as shapes
from rcdb.params import Params as ContourParams
from tests import misfit
from tests.fidelity import fractals, ours

Floats = npt.NDArray[np.float64]

_SEED = 0
_BATCH = 256


@dataclass(frozen=True, eq=False)
class Law:
    """A published distribution, over cells.

    Attributes
    ----------
    text : for people
    edges : float64 (cells + 1,); borders of the cells
    weights : float64 (cells,); proportional to the probabilities
    mean : of the quantity
    """

    text: str
    edges: Floats
    weights: Floats
    mean: float


def whole_numbers(low: int, high: int, text: str = "", weights: npt.ArrayLike = 1.0) -> Law:
    """Return a law on whole numbers, uniform by default."""
    numbers = np.arange(low, high + 1)
    every = np.broadcast_to(np.asarray(weights, dtype=float), numbers.shape)
    edges = np.arange(low, high + 2) - 0.5
    return Law(text or f"uniform, {low} to {high}", edges, every, float((numbers * every).sum() / every.sum()))


def real_numbers(low: float, high: float) -> Law:
    """Return a uniform law, in 40 cells."""
    return Law(f"uniform, {low:g} to {high:g}", np.linspace(low, high, 41), np.ones(40), (low + high) / 2.0)


def segments_law(vertices: Law, contours: Law) -> Law:
    """Return the law of the product of two whole numbers."""
    n_vertices, n_contours = (law.edges[:-1] + 0.5 for law in (vertices, contours))
    edges = np.array([0, 250, 500, 1000, 1500, 2000, 3000, *range(4000, 20_001, 2000), 25_000, 40_000]) + 0.5
    weights = np.outer(vertices.weights, contours.weights)
    cells = np.histogram(np.outer(n_vertices, n_contours), bins=edges, weights=weights)[0]
    return Law("vertices x contours", edges, cells, vertices.mean * contours.mean)


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of ours, and their published law.

    Attributes
    ----------
    quantity : name and unit
    values : float64 (n,)
    """

    quantity: str
    law: Law
    values: Floats

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of values in each cell."""
        return np.histogram(self.values, bins=self.law.edges)[0]

    @property
    def misfit(self) -> float:
        """Distance of chi-square from its mean, in standard deviations.

        inf if a value is in no cell.
        """
        counts = self.counts
        return misfit(counts, self.law.weights) if counts.sum() == len(self.values) else math.inf


class Accepted(NamedTuple):
    """Categories among some candidates.

    Attributes
    ----------
    n_maps : int64 (categories,); maps of each
    """

    n_candidates: int
    n_maps: npt.NDArray[np.int64]

    @property
    def percent(self) -> float:
        """Percentage of the candidates that are accepted."""
        return 100.0 * len(self.n_maps) / self.n_candidates

    @property
    def percent_error(self) -> float:
        """Standard error of that percentage."""
        return math.sqrt(self.percent * (100.0 - self.percent) / self.n_candidates)

    @property
    def maps_error(self) -> float:
        """Standard error of the mean number of maps."""
        return float(self.n_maps.std()) / math.sqrt(len(self.n_maps))


def errors_apart(one: Accepted, other: Accepted) -> tuple[float, float]:
    """Return two differences, in standard errors.

    They are those of the percentage and of the mean number of maps.
    """
    percent = (one.percent - other.percent) / math.hypot(one.percent_error, other.percent_error)
    maps = (one.n_maps.mean() - other.n_maps.mean()) / math.hypot(one.maps_error, other.maps_error)
    return percent, float(maps)


def accepted_by_us(n_candidates: int) -> Accepted:
    """Search the first candidates of a seed."""
    starts = range(0, n_candidates, _BATCH)
    parts = (range(start, min(start + _BATCH, n_candidates)) for start in starts)
    tables = [systems.sample(FractalParams(), _SEED, part) for part in parts]
    return Accepted(n_candidates, np.array([len(maps) for table in tables for maps in table["maps"].to_pylist()]))


def accepted_by_transcription(n_candidates: int) -> Accepted:
    """Search candidates that the transcription draws."""
    rng, n_maps = np.random.default_rng(_SEED), []
    for _ in range(n_candidates):
        maps = fractals.draw_maps(rng)
        points = fractals.play(maps, fractals.probabilities(maps), rng.random(fractals.N_POINTS))
        n_maps += [len(maps)] * (fractals.least_variance(points) > fractals.VARIANCE_THRESHOLD)
    return Accepted(n_candidates, np.array(n_maps))


def candidates(n: int) -> list[Sample]:
    """Return the numbers of ExFractalDB's candidates."""
    drawn = systems.draw(FractalParams(), _SEED, range(n))
    coefficients = drawn.maps[np.arange(drawn.maps.shape[1]) < drawn.n_maps[:, None]]
    return [
        Sample("maps of a candidate", whole_numbers(2, 7), drawn.n_maps.astype(float)),
        Sample("coefficients", real_numbers(-1, 1), coefficients.ravel()),
    ]


def viewpoints(n: int) -> list[Sample]:
    """Return the numbers of n images of ExFractalDB.

    With few points no system diverges, so no weight is replaced. The camera, as seen from the attractor, is in the direction
    of the third row of the rotation's matrix.
    """
    data = ours.dataset("exfractal", 1, n, image={"size": 16}, params={"points": 100})
    variants = np.array([variant for _, variant in data.images(ours.names(data))])
    redraws, coefficient, factor, w, x, y, z = variants.T
    assert not redraws.any()
    weight = np.where(coefficient < 0, 0, 1 + 12 * coefficient + np.searchsorted(fractals.FACTORS, factor))
    height = 1 - 2 * (x * x + y * y)
    azimuth = np.degrees(np.arctan2(y * z + w * x, x * z - w * y))
    roll = np.degrees(np.arctan2(y * z - w * x, x * z + w * y))
    area = np.floor(8 * (height + 1) / 2) * 16 + np.floor(16 * (azimuth + 180) / 360)
    return [
        Sample("weight, row of the table", whole_numbers(0, 144), weight),
        Sample("viewpoint, height", real_numbers(-1, 1), height),
        Sample("viewpoint, azimuth, degrees", real_numbers(-180, 180), azimuth),
        Sample("viewpoint, roll, degrees", real_numbers(-180, 180), roll),
        Sample("viewpoint, one of 128 equal areas", whole_numbers(0, 127), area),
    ]


def categories(n: int) -> list[Sample]:
    """Return the numbers of n categories of RCDB."""
    table = shapes.sample(ContourParams(), _SEED, range(n))
    vertices, contours, perlin, gap = (table[name].to_numpy() for name in ContourParams().label)
    exponential = np.exp(-np.arange(3, 201) / 100.0)
    vertices_law = whole_numbers(3, 200, "exponential, 3 to 200", exponential)
    contours_law = whole_numbers(1, 200)
    return [
        Sample("vertices", vertices_law, vertices),
        Sample("contours", contours_law, contours),
        Sample("segments of an image", segments_law(vertices_law, contours_law), vertices.astype(float) * contours),
        Sample("Perlin coefficient, px", real_numbers(0, 4), perlin),
        Sample("gap, px", real_numbers(0, 0.1), gap),
    ]


def contour_images(n_categories: int, n_instances: int) -> list[Sample]:
    """Return the numbers of some images of RCDB."""
    data = ours.dataset("rcdb", n_categories, n_instances, image={"size": 16})
    variants = [variant for _, variant in data.images(ours.names(data))]
    radius, aspect_x, aspect_y, x, y = np.array([variant[4:] for variant in variants]).T
    greys = np.concatenate(
        [
            ours.greys(data.stream(*name), variant.contours)
            for name, variant in zip(ours.names(data), variants, strict=True)
        ]
    )
    return [
        Sample("radius, px", whole_numbers(0, 100), radius),
        Sample("aspect, x", real_numbers(1, 2), aspect_x),
        Sample("aspect, y", real_numbers(1, 2), aspect_y),
        Sample("2 x centre - 512, x, px", whole_numbers(-400, 400), 2 * x - 512),
        Sample("2 x centre - 512, y, px", whole_numbers(-400, 400), 2 * y - 512),
        Sample("grey of a contour", whole_numbers(0, 255, "uniform, 0 to 256, clipped", [1.0] * 255 + [2.0]), greys),
    ]
