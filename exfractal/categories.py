"""Categories of ExFractalDB: random 3D systems that vary along every axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from exfractal import kernels
from exfractal.attractors import Games, System, thresholds
from exfractal.chaos_plain import CHAINS, LANES, N_ROWS
from exfractal.chaos_vector import play
from exfractal.params import N_COEFFICIENTS, Params
from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import CATEGORY, Stream, below, domain, uniforms, words_of_instances

DOMAIN = 1
MAX_MAPS = 256
"""A map number is one byte."""

_ROUNDING = 2.0**-48
"""Bound on the relative rounding error per addition, with a safety factor."""

_SCALE = 2.0**-480
"""Factor of translations in the survey. A power of two, so it changes no digit of a point."""

_OVERFLOWED = 2.0**544
"""2**1024, which float64 cannot hold, times _SCALE."""

_SYSTEM, _POINTS = range(2)
"""Lanes of an attempt's stream."""

SCHEMA = pa.schema(
    [
        pa.field("category", pa.int32(), nullable=False),
        pa.field("attempt", pa.int64()),
        pa.field("maps", pa.list_(pa.list_(pa.float64()))),
        pa.field("probability", pa.list_(pa.float64())),
    ]
)
"""One row per category. `maps` has a list of 12 coefficients (a..i, j, k, l) per map. `attempt` is the number of the accepted
candidate, null in an imported table."""


class Candidate(NamedTuple):
    """A system that may become a category.

    Attributes
    ----------
    maps : float64 (maps, 12)
    probability : float64 (maps,), 0..1
    """

    maps: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]


class Candidates(NamedTuple):
    """Several candidates, padded to the same number of maps.

    Attributes
    ----------
    n_maps : int64 (candidates,)
    maps : float64 (candidates, maps, 12)
    probability : float64 (candidates, maps), 0..1; 0 for padding
    """

    n_maps: npt.NDArray[np.int64]
    maps: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]

    def candidate(self, k: int) -> Candidate:
        """Return one candidate, without padding."""
        return Candidate(self.maps[k, : self.n_maps[k]], self.probability[k, : self.n_maps[k]])


def _stream(seed: int, attempt: int) -> Stream:
    return Stream(seed, domain(DOMAIN, CATEGORY), 0, attempt)


def draw(params: Params, seed: int, attempts: range) -> Candidates:
    """Draw a candidate for each attempt.

    Its number of maps is uniform, and so is each coefficient in (-1, 1). The probability of map k is abs(det A_k), divided
    by the sum over all maps.
    """
    low, high = params.maps
    words = words_of_instances(_stream(seed, 0), attempts, _SYSTEM, 1 + high * N_COEFFICIENTS)
    n_maps = np.array([low + below(word, high - low + 1) for word in words[:, 0]], dtype=np.int64)
    maps = (2.0 * uniforms(words[:, 1:]) - 1.0).reshape(-1, high, N_COEFFICIENTS)
    a, b, c, d, e, f, g, h, i = np.moveaxis(maps, 2, 0)[:9]
    determinants = np.abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    determinants[np.arange(high) >= n_maps[:, None]] = 0.0
    totals = [math.fsum(row) for row in determinants.tolist()]
    return Candidates(n_maps, maps, determinants / np.reshape(totals, (-1, 1)))


def accepts(params: Params, seed: int, attempt: int, candidate: Candidate) -> bool:
    """Return whether a candidate becomes a category.

    Its attractor must be finite and vary enough along each axis, after the lowest and highest coordinate over all axes are
    mapped to -1 and 1.
    """
    system = System(candidate.maps, thresholds(candidate.probability))
    (cloud,) = Games(params.points).play([system], [_stream(seed, attempt).words(_POINTS, params.points)])
    if cloud is None:
        return False
    least: float = min(kernels.variances(cloud.points, cloud.mean, 0.5 * (cloud.high - cloud.low)))
    return least > params.variance_threshold


def _survey(params: Params, seed: int, attempts: range, candidates: Candidates) -> npt.NDArray[np.float64]:
    """Return the statistics of each candidate's points, times _SCALE.

    Returns
    -------
    float64 (5, candidates, 3); axis 0 as in `chaos_vector.play`, axis 2 is x, y, z
    """
    n, high = candidates.maps.shape[:2]
    cumulative = thresholds(candidates.probability)
    maps = np.zeros((-(-n // CHAINS) * CHAINS, high, 4, LANES))
    kernels.in_lanes(candidates.maps.reshape(-1, 12), maps[:n].reshape(-1, 4, LANES))
    maps[:, :, 3] *= _SCALE
    states = np.empty((len(maps), N_ROWS, LANES))
    choices = np.zeros((CHAINS, params.points), dtype=np.uint8)
    for first in range(0, n, CHAINS):
        four = slice(first, first + CHAINS)
        words = words_of_instances(_stream(seed, 0), attempts[four], _POINTS, params.points)
        for k, own_words in enumerate(words):
            kernels.choose_maps(own_words, cumulative[first + k, : candidates.n_maps[first + k] - 1], choices[k])
        play(maps[four], choices, states[four], None)
    return np.moveaxis(states[:n, :, :3], 1, 0)


def accepted(params: Params, seed: int, attempts: range, candidates: Candidates) -> npt.NDArray[np.bool_]:
    """Return `accepts` of each candidate: bool (candidates,).

    Computes variances from sums of squares, in one pass over points that are not stored. Scaled translations make all
    points smaller, so their squares overflow later. `accepts` decides where points are still too large or too small, or
    where rounding could change the verdict.
    """
    with np.errstate(all="ignore"):
        _, total, squares, low, high = _survey(params, seed, attempts, candidates)
        spread = high.max(axis=1) - low.min(axis=1)
        size = np.maximum(np.abs(low), np.abs(high)).max(axis=1)
        mean, square = total / params.points, squares / params.points
        half_range = 0.5 * spread[:, None]
        excess = (square - mean * mean) / half_range**2 - params.variance_threshold
        is_clear = np.abs(excess) > _ROUNDING * params.points * (1.0 + square / half_range**2)
        diverges = ~np.isfinite(total).all(axis=1) | (size >= _OVERFLOWED)
        is_sure = is_clear.all(axis=1) & (size * params.points < 2.0**500) & (spread > 2.0**-500)
    verdicts: npt.NDArray[np.bool_] = is_sure & (excess > 0.0).all(axis=1)
    for k in np.flatnonzero(~diverges & ~is_sure).tolist():
        verdicts[k] = accepts(params, seed, attempts[k], candidates.candidate(k))
    return verdicts


def sample(params: Params, seed: int, attempts: range) -> pa.Table:
    """Return the categories among some attempts, in order.

    The result is a table of SCHEMA. Whether an attempt becomes a category depends only on (params, seed, attempt).
    """
    candidates = draw(params, seed, attempts)
    numbers = np.flatnonzero(accepted(params, seed, attempts, candidates)).tolist()
    systems = [candidates.candidate(k) for k in numbers]
    return pa.table(
        {
            "category": range(len(numbers)),
            "attempt": [attempts[k] for k in numbers],
            "maps": [candidate.maps.tolist() for candidate in systems],
            "probability": [candidate.probability.tolist() for candidate in systems],
        },
        schema=SCHEMA,
    )


def system(maps: list[list[float]] | None, probability: list[float] | None) -> System:
    """Return the system in a row of a categories table.

    Raises
    ------
    InputError
        Not 2..256 maps of 12 finite numbers, or not one probability per map with a sum of 1 within 0.001.
    """
    n_maps = len(maps or ())
    if not 2 <= n_maps <= MAX_MAPS:
        raise InputError(f"`maps` has {n_maps} maps; it must have 2..{MAX_MAPS}")
    coefficients = _finite(maps, (n_maps, N_COEFFICIENTS))
    if coefficients is None:
        raise InputError(f"`maps` must have {N_COEFFICIENTS} finite numbers for each map")
    shares = _finite(probability, (n_maps,))
    if shares is None:
        raise InputError(f"`probability` (={probability}) must have one finite number for each of {n_maps} maps")
    if shares.min() < 0 or abs(math.fsum(shares) - 1.0) > 1e-3:
        raise InputError(f"`probability` (={probability}) must sum to 1 within 0.001, none below 0")
    return System(coefficients, thresholds(shares))


def _finite(values: object, shape: tuple[int, ...]) -> npt.NDArray[np.float64] | None:
    """Return nested lists as a float64 array.

    None if they are not finite numbers of that shape.
    """
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.shape == shape and np.isfinite(array).all() else None


def unpack(params: Params, table: pa.Table) -> Sequence[System]:
    """Return the systems of a categories table.

    Raises InputError, naming the category.
    """
    systems = []
    for row in itertools.chain.from_iterable(batch.to_pylist() for batch in table.to_batches(max_chunksize=1024)):
        try:
            systems.append(system(row["maps"], row["probability"]))
        except InputError as error:
            raise InputError(f"category {row['category']}: {error}") from None
    return systems
