"""Random numbers as a pure function of what they are for.

One stream per (seed, domain, category, instance): the counter-based generator Philox4x32-10 with the seed as its key and
the rest as its counter, so that no two streams share a block and any part of any stream can be made alone, in any order.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from primitives.kernels import philox4x32, philox4x32_each


def uniforms(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Return one number for each random word, float64 of the same shape, in the open interval (0, 1), a step 2**-32."""
    return (words.astype(np.float64) + 0.5) * 2.0**-32


class Stream(NamedTuple):
    """The random numbers of one category attempt, image or plan.

    seed : 0 .. 2**64 - 1; the dataset's root seed.
    domain : 0 .. 2**16 - 1; what the numbers are for: see `domain`.
    category, instance : 0 .. 2**32 - 1.

    A stream has 65,536 lanes, each an endless sequence of its own; a longer read of a lane begins with the shorter one.
    """

    seed: int
    domain: int
    category: int
    instance: int

    def words(self, lane: int, n: int) -> npt.NDArray[np.uint32]:
        """Return the first `n` words of a lane: uint32 (n,), uniform over 0 .. 2**32 - 1."""
        seed, domain, category, instance = self
        out = np.empty((n + 3) // 4 * 4, dtype=np.uint32)
        philox4x32(seed & 0xFFFFFFFF, seed >> 32, instance, category, domain << 16 | lane, out)
        return out[:n]

    def uniforms(self, lane: int, n: int) -> npt.NDArray[np.float64]:
        """Return `n` numbers of a lane, float64 (n,), uniform in the open interval (0, 1) with a step of 2**-32."""
        return uniforms(self.words(lane, n))


def words_of_each(stream: Stream, instances: Sequence[int], lane: int, n: int) -> npt.NDArray[np.uint32]:
    """Return the first `n` words of a lane of each of the streams that differ in `instance` alone: uint32 (instances, n)."""
    seed, domain, category, _ = stream
    out = np.empty((len(instances), (n + 3) // 4 * 4), dtype=np.uint32)
    each = np.array(instances, dtype=np.int64)
    philox4x32_each(seed & 0xFFFFFFFF, seed >> 32, each, category, domain << 16 | lane, out)
    return out[:, :n]


CATEGORY, TRAIN, VALIDATION, PLAN = range(4)
"""The roles that a stream can have within a family."""


def domain(family: int, role: int) -> int:
    """Return the `domain` of a family's (1..255) streams in one role (CATEGORY, TRAIN, VALIDATION or PLAN)."""
    return family << 8 | role


def below(word: int, n: int) -> int:
    """Return a whole number in 0..n-1, uniform to within n / 2**32, from one random word."""
    return int(word) * n >> 32
