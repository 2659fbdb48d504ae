"""Random numbers as a pure function of their address.

There is one stream per (seed, domain, category, instance). The generator is Philox4x32-10: the seed is its key, the rest is
its counter. So no two streams share a block, and any part of a stream can be computed alone, in any order.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fdsl.primitives.philox import philox4x32, philox4x32_rows

_plain_philox = getattr(philox4x32, "py_func", philox4x32)  # it has none if numba's compiler is off


def uniforms(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """Return one uniform number per random word.

    Parameters
    ----------
    words : uint32, any shape

    Returns
    -------
    float64, same shape, in the open interval (0, 1), a multiple of 2**-33
    """
    return (words.astype(np.float64) + 0.5) * 2.0**-32


class Stream(NamedTuple):
    """The random numbers of one image, category attempt or plan.

    A stream has 65,536 lanes. Each lane is an endless sequence; a longer read of a lane begins with the shorter one.

    Attributes
    ----------
    seed : 0 .. 2**64 - 1; root seed of the dataset
    domain : 0 .. 2**16 - 1; family and role, from the function `domain`
    category : 0 .. 2**32 - 1
    instance : 0 .. 2**32 - 1
    """

    seed: int
    domain: int
    category: int
    instance: int

    def words(self, lane: int, n: int) -> npt.NDArray[np.uint32]:
        """Return the first `n` words of a lane: uint32 (n,), uniform."""
        seed, domain, category, instance = self
        out = np.empty((n + 3) // 4 * 4, dtype=np.uint32)
        philox4x32(seed & 0xFFFFFFFF, seed >> 32, instance, category, domain << 16 | lane, out)
        return out[:n]

    def plain_words(self, lane: int, n: int) -> npt.NDArray[np.uint32]:
        """Return the words without compiled code.

        numba takes 0.4 s to load the first compiled function of a process. This takes 2 us per word.
        """
        seed, domain, category, instance = self
        out = np.empty((n + 3) // 4 * 4, dtype=np.uint32)
        _plain_philox(seed & 0xFFFFFFFF, seed >> 32, instance, category, domain << 16 | lane, out)
        return out[:n]

    def uniforms(self, lane: int, n: int) -> npt.NDArray[np.float64]:
        """Return `n` numbers of a lane: float64 (n,), uniform in (0, 1)."""
        return uniforms(self.words(lane, n))


def words_of_instances(stream: Stream, instances: Sequence[int], lane: int, n: int) -> npt.NDArray[np.uint32]:
    """Return the first `n` words of a lane for several instances.

    Parameters
    ----------
    stream : gives seed, domain and category; its instance is ignored
    instances : 0 .. 2**32 - 1 each

    Returns
    -------
    uint32 (instances, n)
    """
    seed, domain, category, _ = stream
    out = np.empty((len(instances), (n + 3) // 4 * 4), dtype=np.uint32)
    numbers = np.array(instances, dtype=np.int64)
    philox4x32_rows(seed & 0xFFFFFFFF, seed >> 32, numbers, category, domain << 16 | lane, out)
    return out[:, :n]


CATEGORY, TRAIN, VALIDATION, PLAN = range(4)
"""Roles of a stream within a family."""


def domain(family: int, role: int) -> int:
    """Return the stream domain of a family in one role.

    Parameters
    ----------
    family : 1..255; the family's DOMAIN
    role : CATEGORY, TRAIN, VALIDATION or PLAN
    """
    return family << 8 | role


def below(word: int, n: int) -> int:
    """Return an integer in 0..n-1, uniform within n / 2**32."""
    return int(word) * n >> 32
