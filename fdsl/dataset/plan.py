"""The plan: which image is at which position of which shard.

A split is a seeded permutation of all its images. Shards cut it into runs of nearly equal length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fdsl.dataset.spec import SPLITS, Spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.streams import PLAN, Stream, domain
from fdsl.primitives.validation import shown

Numbers = npt.NDArray[np.int64]

SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-\d{{6}}")
_ROUNDS = 8
_MIX_1, _MIX_2 = np.uint64(0x9FB21C651E98DF25), np.uint64(0xD6E8FEB86659FD93)


class Shard(NamedTuple):
    """One tar of a split.

    Attributes
    ----------
    split : train or validation
    number : train-000007 is number 7 of train
    start, stop : positions of the split's order that it holds
    """

    split: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """File name without its ending."""
        return f"{self.split}-{self.number:06}"

    @property
    def n_samples(self) -> int:
        """Number of images."""
        return self.stop - self.start


def plan_shards(spec: Spec, split: str = "all") -> list[Shard]:
    """Return the shards of a split or of all splits, train first.

    Within a split, their lengths differ by at most one.

    Raises
    ------
    InputError
        `split` is not train, validation or all.
    """
    if split not in (*SPLITS, "all"):
        raise InputError(f"`split` (={split!r}) must be one of {', '.join(SPLITS)}, all")
    shards = []
    for name in SPLITS if split == "all" else (split,):
        n_samples = spec.n_images(name)
        n_shards = -(-n_samples // spec.shards.samples)
        shards += [Shard(name, k, k * n_samples // n_shards, (k + 1) * n_samples // n_shards) for k in range(n_shards)]
    return shards


def select_shards(spec: Spec, split: str = "all", shards: str | None = None) -> list[Shard]:
    """Return some shards of a split or of all splits.

    Parameters
    ----------
    split : train, validation or all
    shards : "A:B" selects shards A to B-1, as a Python slice; "K/N" selects the K-th of N nearly equal parts, counted
        from 1; None selects all

    Raises
    ------
    InputError
        `split` or `shards` is wrong.
    """
    planned = plan_shards(spec, split)
    if shards is None:
        return planned
    if not isinstance(shards, str) or not re.fullmatch(r"\d{0,9}:\d{0,9}|\d{1,9}/\d{1,9}", shards, re.ASCII):
        raise InputError(
            f"`shards` (={str(shards)[:40]}) must be A:B or K/N, such as 0:8 for the first eight shards, or 3/200 for the"
            " third of 200 parts"
        )
    if "/" in shards:
        part, n_parts = map(int, shards.split("/"))
        if not 1 <= part <= n_parts <= len(planned):
            raise InputError(
                f"`shards` (={shards}) must be K/N with 1 <= K <= N <= {len(planned)}, the number of shards"
            )
        return planned[(part - 1) * len(planned) // n_parts : part * len(planned) // n_parts]
    first, last = shards.split(":")
    start, stop = int(first or 0), int(last or len(planned))
    if not 0 <= start < stop <= len(planned):
        raise InputError(f"`shards` (={shards}) must be A:B with A < B <= {len(planned)}, the number of shards")
    return planned[start:stop]


def part_of(position: int, n_shards: int, n_parts: int) -> int:
    """Return the part, counted from 1, that holds a shard; see `select_shards`.

    Parameters
    ----------
    position : of the shard in the plan, from 0
    """
    return ((position + 1) * n_parts - 1) // n_shards + 1


@lru_cache
def _keys(stream: Stream) -> npt.NDArray[np.uint64]:
    """Return the keys of a permutation: uint64 (rounds,).

    Without compiled code, so that verifying loads none.
    """
    words = stream.plain_words(0, 2 * _ROUNDS).astype(np.uint64)
    return words[::2] << np.uint64(32) | words[1::2]


def permute(
    positions: npt.NDArray[np.uint64], n: int, stream: Stream, *, inverse: bool = False
) -> npt.NDArray[np.uint64]:
    """Map positions in 0..n-1 one to one onto 0..n-1.

    A Feistel network, applied again while a value is n or more. Its inverse is the same network with its halves swapped and
    its keys in reverse.

    Parameters
    ----------
    positions : uint64 (positions,)
    stream : gives the keys
    inverse : map back

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002 (cycle walking).
    """
    keys = _keys(stream)
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    values = positions.copy()
    outside = np.ones(len(values), dtype=np.bool_)
    while outside.any():
        left, right = values[outside] >> half, values[outside] & mask
        if inverse:
            left, right = right, left
        for key in keys[::-1] if inverse else keys:
            mixed = (right ^ key) * _MIX_1
            mixed = (mixed ^ (mixed >> np.uint64(32))) * _MIX_2
            left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(29))) & mask)
        if inverse:
            left, right = right, left
        values[outside] = left << half | right
        outside = values >= n
    return values


def _order(spec: Spec, split: str) -> Stream:
    """Return the random numbers of a split's order."""
    return Stream(spec.seed, domain(spec.family_module.DOMAIN, PLAN), 0, SPLITS[split])


def numbers_at(spec: Spec, split: str, positions: npt.ArrayLike) -> tuple[Numbers, Numbers]:
    """Return the category and instance at some positions of a split's order.

    Parameters
    ----------
    positions : (positions,), whole numbers in 0 .. images of the split - 1

    Returns
    -------
    category, instance : int64 (positions,) each
    """
    images = np.asarray(positions, dtype=np.uint64)
    if spec.shards.order == "shuffled":
        images = permute(images, spec.n_images(split), _order(spec, split))
    category, instance = np.divmod(images.astype(np.int64), spec.n_instances(split))
    return category, instance + spec.first_instance(split)


def position_of(spec: Spec, category: int, instance: int) -> int:
    """Return the position of an image in the order of its split."""
    split = spec.split_of(instance)
    image = category * spec.n_instances(split) + instance - spec.first_instance(split)
    if spec.shards.order == "shuffled":
        order = _order(spec, split)
        image = int(permute(np.array([image], dtype=np.uint64), spec.n_images(split), order, inverse=True)[0])
    return image


def image_numbers(spec: Spec, shard: Shard) -> tuple[Numbers, Numbers]:
    """Return the category and instance of each image of a shard.

    Time and memory grow with the shard, not with the dataset.

    Returns
    -------
    category, instance : int64 (samples,) each, in the shard's order
    """
    return numbers_at(spec, shard.split, np.arange(shard.start, shard.stop, dtype=np.uint64))


def image_names(spec: Spec, shard: Shard) -> list[tuple[int, int]]:
    """Return the (category, instance) of each image of a shard, in order."""
    category, instance = image_numbers(spec, shard)
    return list(zip(category.tolist(), instance.tolist(), strict=True))


def image_key(category: int, instance: int) -> str:
    """Return the key of an image in its shard."""
    return f"{category:06}_{instance:06}"


def parse_key(key: str) -> tuple[int, int]:
    """Return the (category, instance) of a key.

    Raises
    ------
    InputError
        `key` is not one that `image_key` returns.
    """
    match = re.fullmatch(r"(\d{6})_(\d{6,10})", key, re.ASCII) if isinstance(key, str) else None
    numbers = (int(match[1]), int(match[2])) if match else (0, 0)
    if not match or image_key(*numbers) != key:
        raise InputError(
            f"`key` (={shown(key)}) must be CATEGORY_INSTANCE of six digits or more, such as 000007_000123"
        )
    return numbers
