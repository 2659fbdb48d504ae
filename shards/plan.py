"""Which image stands where: shards cut a split into equal runs of a seeded permutation of all its images."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from primitives.fields import InputError
from primitives.streams import PLAN, Stream, domain
from shards.spec import SPLITS, Spec

SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-\d{{6,}}")
_ROUNDS = 8
_MIX_1, _MIX_2 = np.uint64(0x9FB21C651E98DF25), np.uint64(0xD6E8FEB86659FD93)


class Shard(NamedTuple):
    """One tar.

    split, number : train-000007 is number 7 of train.
    start, stop : the positions of the split's order that it holds.
    """

    split: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return f"{self.split}-{self.number:06}"

    @property
    def samples(self) -> int:
        """How many images it holds."""
        return self.stop - self.start


def plan_shards(spec: Spec, split: str = "all") -> list[Shard]:
    """Return the shards of a split, or of all, train first; within a split their lengths differ by at most one."""
    shards = []
    for name in SPLITS if split == "all" else (split,):
        n_samples = spec.categories * spec.n_instances(name)
        n_shards = -(-n_samples // spec.shards.samples)
        shards += [Shard(name, k, k * n_samples // n_shards, (k + 1) * n_samples // n_shards) for k in range(n_shards)]
    return shards


def select_shards(spec: Spec, split: str, window: str | None) -> list[Shard]:
    """Return the shards A..B-1 of a split, where `window` is "A:B", as Python slices; None is all of them."""
    shards = plan_shards(spec, split)
    if window is None:
        return shards
    ends = window.split(":")
    if not re.fullmatch(r"\d{0,9}:\d{0,9}", window, re.ASCII):
        raise InputError(f"`--shards` (={window[:40]}) must be A:B, such as 0:8 for the first eight shards")
    start, stop = int(ends[0] or 0), int(ends[1] or len(shards))
    if not 0 <= start < stop <= len(shards):
        raise InputError(f"`--shards` (={window}) must be A:B with A < B <= {len(shards)}, the number of shards")
    return shards[start:stop]


def _permute(positions: npt.NDArray[np.uint64], n: int, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Map positions in 0..n-1 one to one onto 0..n-1, by a Feistel network that is walked until it lands below n.

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002 (cycle walking).
    """
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    values = positions.copy()
    outside = np.ones(len(values), dtype=np.bool_)
    while outside.any():
        left, right = values[outside] >> half, values[outside] & mask
        for key in keys:
            mixed = (right ^ key) * _MIX_1
            mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX_2
            left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(29))) & mask)
        values[outside] = left << half | right
        outside = values >= n
    return values


def samples_of(spec: Spec, shard: Shard) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the category and the instance of each of a shard's images: int64 (samples,) both.

    The time and memory taken grow with this shard's samples, not with the dataset.
    """
    n_instances = spec.n_instances(shard.split)
    positions = np.arange(shard.start, shard.stop, dtype=np.uint64)
    if spec.shards.order == "shuffled":
        stream = Stream(spec.seed, domain(spec.rules.DOMAIN, PLAN), 0, SPLITS[shard.split])
        words = stream.words(0, 2 * _ROUNDS).astype(np.uint64)
        positions = _permute(positions, spec.categories * n_instances, words[::2] << np.uint64(32) | words[1::2])
    category, instance = np.divmod(positions.astype(np.int64), n_instances)
    return category, instance + spec.first_instance(shard.split)
