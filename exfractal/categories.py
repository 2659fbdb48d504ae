"""ExFractalDB's categories: random 3D iterated function systems whose attractors fill space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from exfractal import kernels
from exfractal.params import N_COEFFICIENTS, Params
from primitives.fields import InputError, is_finite
from primitives.streams import CATEGORY, Stream, below, domain, uniforms

DOMAIN = 1
MAX_MAPS = 256
"""A map's number is a byte."""

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
"""One row per category: `maps` has one list of 12 coefficients (a..i, then j, k, l) per map; `attempt` is the number of
the candidate that was accepted, null in an imported table."""


class System(NamedTuple):
    """One category's iterated function system.

    maps : float64 (maps, 12); a..i (the matrix row by row), then the translation.
    thresholds : uint32 (maps - 1,); the maps' cumulative probabilities times 2**32.
    """

    maps: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.uint32]


class Candidate(NamedTuple):
    """A system that may become a category."""

    maps: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]


def thresholds(probability: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """Return the cumulative probabilities but the last, times 2**32: uint32 (maps - 1,)."""
    cumulative = np.cumsum(np.asarray(probability, dtype=np.float64))[:-1]
    return np.minimum(np.floor(cumulative * 2.0**32), 2.0**32 - 1).astype(np.uint32)


def draw(params: Params, seed: int, attempt: int) -> Candidate:
    """Draw a candidate: its number of maps, then 12 coefficients in (-1, 1) for each.

    Map k is to be chosen with probability \\|det A_k\\| / sum of all \\|det A\\|.
    """
    stream = Stream(seed, domain(DOMAIN, CATEGORY), 0, attempt)
    low, high = params.maps
    words = stream.words(_SYSTEM, 1 + high * N_COEFFICIENTS)
    n_maps = low + below(words[0], high - low + 1)
    maps = (2.0 * uniforms(words[1 : 1 + n_maps * N_COEFFICIENTS]) - 1.0).reshape(n_maps, N_COEFFICIENTS)
    a, b, c, d, e, f, g, h, i = maps[:, :9].T
    determinants = np.abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    return Candidate(maps, determinants / math.fsum(determinants))


def accepts(params: Params, seed: int, attempt: int, candidate: Candidate) -> bool:
    """Return whether a candidate becomes a category: its attractor stays finite and varies enough along each axis.

    The variance is that of the coordinates after one global minimum and maximum over all axes are taken to [-1, 1].
    """
    stream = Stream(seed, domain(DOMAIN, CATEGORY), 0, attempt)
    choices = np.empty(params.points, dtype=np.uint8)
    kernels.choose_maps(stream.words(_POINTS, params.points), thresholds(candidate.probability), choices)
    points = np.empty((3, params.points))
    low, high, *means = kernels.iterate(candidate.maps, choices, points)
    if math.isnan(low):
        return False
    least: float = min(kernels.variances(points, tuple(means), 0.5 * (high - low)))
    return least > params.variance_threshold


def sample(params: Params, seed: int, attempts: range) -> pa.Table:
    """Return the categories among some attempts, in the attempts' order: a table of SCHEMA, `category` counted from 0.

    Whether an attempt becomes a category depends on (params, seed, attempt) alone.
    """
    found = [
        (attempt, candidate)
        for attempt in attempts
        if accepts(params, seed, attempt, candidate := draw(params, seed, attempt))
    ]
    return pa.table(
        {
            "category": range(len(found)),
            "attempt": [attempt for attempt, _ in found],
            "maps": [candidate.maps.tolist() for _, candidate in found],
            "probability": [candidate.probability.tolist() for _, candidate in found],
        },
        schema=SCHEMA,
    )


def system(maps: list[list[float]] | None, probability: list[float] | None) -> System:
    """Return a category's system from its row of a table.

    Raises
    ------
    InputError
        Not 2..256 maps of 12 finite numbers, or not as many probabilities that sum to 1 within 0.001.
    """
    if not maps or not 2 <= len(maps) <= MAX_MAPS:
        raise InputError(f"`maps` has {len(maps or ())} maps; it must have 2..{MAX_MAPS}")
    if any(len(coefficients or ()) != N_COEFFICIENTS for coefficients in maps) or not is_finite(maps):
        raise InputError(f"`maps` must have {N_COEFFICIENTS} finite numbers for each map")
    if not probability or len(probability) != len(maps) or not is_finite(probability):
        raise InputError(f"`probability` (={probability}) must have one finite number for each of {len(maps)} maps")
    if min(probability) < 0 or abs(math.fsum(probability) - 1.0) > 1e-3:
        raise InputError(f"`probability` (={probability}) must sum to 1 within 0.001, none below 0")
    return System(np.array(maps, dtype=np.float64), thresholds(probability))


def unpack(params: Params, table: pa.Table) -> Sequence[System]:
    """Return a categories table's systems, ready to render; InputError names the category that is none."""
    systems = []
    for row in itertools.chain.from_iterable(batch.to_pylist() for batch in table.to_batches(max_chunksize=1024)):
        try:
            systems.append(system(row["maps"], row["probability"]))
        except InputError as error:
            raise InputError(f"category {row['category']}: {error}") from None
    return systems
