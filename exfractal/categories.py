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
from exfractal.attractors import Games, System, thresholds
from exfractal.params import N_COEFFICIENTS, Params
from exfractal.simd import CHAINS, LANES, N_ROWS, play
from primitives.fields import InputError, is_finite
from primitives.streams import CATEGORY, Stream, below, domain, uniforms, words_of_each

DOMAIN = 1
MAX_MAPS = 256
"""A map's number is a byte."""

_ROUNDING = 2.0**-48
"""Several times what each addition can change of a sum by rounding, as a part of it."""

_SCALE = 2.0**-480
"""A power of two, which changes no digit of a point."""

_OVERFLOWED = 2.0**544
"""What 2**1024, beyond the range of float64, is times _SCALE."""

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


class Candidate(NamedTuple):
    """A system that may become a category."""

    maps: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]


class Candidates(NamedTuple):
    """Systems that may become categories, with room for the most maps that one can have.

    n_maps : int64 (candidates,).
    maps : float64 (candidates, maps, 12).
    probability : float64 (candidates, maps); 0 for the maps that a candidate does not have.
    """

    n_maps: npt.NDArray[np.int64]
    maps: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]

    def candidate(self, k: int) -> Candidate:
        """Return one of them, without the room."""
        return Candidate(self.maps[k, : self.n_maps[k]], self.probability[k, : self.n_maps[k]])


def _stream(seed: int, attempt: int) -> Stream:
    return Stream(seed, domain(DOMAIN, CATEGORY), 0, attempt)


def draw(params: Params, seed: int, attempts: range) -> Candidates:
    """Draw a candidate for each attempt: its number of maps, then 12 coefficients in (-1, 1) for each.

    Map k is to be chosen with probability \\|det A_k\\| / sum of all \\|det A\\|.
    """
    low, high = params.maps
    words = words_of_each(_stream(seed, 0), attempts, _SYSTEM, 1 + high * N_COEFFICIENTS)
    n_maps = np.array([low + below(word, high - low + 1) for word in words[:, 0]], dtype=np.int64)
    maps = (2.0 * uniforms(words[:, 1:]) - 1.0).reshape(-1, high, N_COEFFICIENTS)
    a, b, c, d, e, f, g, h, i = np.moveaxis(maps, 2, 0)[:9]
    determinants = np.abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    determinants[np.arange(high) >= n_maps[:, None]] = 0.0
    totals = [math.fsum(row) for row in determinants.tolist()]
    return Candidates(n_maps, maps, determinants / np.reshape(totals, (-1, 1)))


def accepts(params: Params, seed: int, attempt: int, candidate: Candidate) -> bool:
    """Return whether a candidate becomes a category: its attractor stays finite and varies enough along each axis.

    The variance is that of the coordinates after one global minimum and maximum over all axes are taken to [-1, 1].
    """
    system = System(candidate.maps, thresholds(candidate.probability))
    (cloud,) = Games(params.points).play([system], [_stream(seed, attempt).words(_POINTS, params.points)])
    if cloud is None:
        return False
    least: float = min(kernels.variances(cloud.points, cloud.mean, 0.5 * (cloud.high - cloud.low)))
    return least > params.variance_threshold


def _survey(params: Params, seed: int, attempts: range, candidates: Candidates) -> npt.NDArray[np.float64]:
    """Return the statistics of each candidate's points times _SCALE, float64 (5, candidates, 3): see `simd.play`."""
    n, high = candidates.maps.shape[:2]
    chosen = thresholds(candidates.probability)
    maps = np.zeros((-(-n // CHAINS) * CHAINS, high, 4, LANES))
    kernels.in_lanes(candidates.maps.reshape(-1, 12), maps[:n].reshape(-1, 4, LANES))
    maps[:, :, 3] *= _SCALE
    states = np.empty((len(maps), N_ROWS, LANES))
    choices = np.zeros((CHAINS, params.points), dtype=np.uint8)
    for first in range(0, n, CHAINS):
        four = slice(first, first + CHAINS)
        words = words_of_each(_stream(seed, 0), attempts[four], _POINTS, params.points)
        for k, each in enumerate(words):
            kernels.choose_maps(each, chosen[first + k, : candidates.n_maps[first + k] - 1], choices[k])
        play(maps[four], choices, states[four], None)
    return np.moveaxis(states[:n, :, :3], 1, 0)


def accepted(params: Params, seed: int, attempts: range, candidates: Candidates) -> npt.NDArray[np.bool_]:
    """Return what `accepts` says of each candidate: bool (candidates,).

    Sums of squares give the variances in one pass over points that are not kept. With smaller translations all points are
    smaller, and their squares overflow later. Where the points are too large or too small for that, or rounding could turn
    the verdict, `accepts` has the word.
    """
    with np.errstate(all="ignore"):
        _, total, squares, low, high = _survey(params, seed, attempts, candidates)
        spread = high.max(axis=1) - low.min(axis=1)
        size = np.maximum(np.abs(low), np.abs(high)).max(axis=1)
        mean, square = total / params.points, squares / params.points
        half_range = 0.5 * spread[:, None]
        excess = (square - mean * mean) / half_range**2 - params.variance_threshold
        clear = np.abs(excess) > _ROUNDING * params.points * (1.0 + square / half_range**2)
        diverges = ~np.isfinite(total).all(axis=1) | (size >= _OVERFLOWED)
        sure = clear.all(axis=1) & (size * params.points < 2.0**500) & (spread > 2.0**-500)
    verdicts: npt.NDArray[np.bool_] = sure & (excess > 0.0).all(axis=1)
    for k in np.flatnonzero(~diverges & ~sure).tolist():
        verdicts[k] = accepts(params, seed, attempts[k], candidates.candidate(k))
    return verdicts


def sample(params: Params, seed: int, attempts: range) -> pa.Table:
    """Return the categories among some attempts, in the attempts' order: a table of SCHEMA, `category` counted from 0.

    Whether an attempt becomes a category depends on (params, seed, attempt) alone.
    """
    candidates = draw(params, seed, attempts)
    found = np.flatnonzero(accepted(params, seed, attempts, candidates)).tolist()
    systems = [candidates.candidate(k) for k in found]
    return pa.table(
        {
            "category": range(len(found)),
            "attempt": [attempts[k] for k in found],
            "maps": [candidate.maps.tolist() for candidate in systems],
            "probability": [candidate.probability.tolist() for candidate in systems],
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
