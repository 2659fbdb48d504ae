"""Which samples each rank takes, epoch after epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch


LEAST = 2
"""How many images a batch has at least: from one alone, batch normalisation cannot tell a mean from a deviation."""


class Batches(torch.utils.data.Sampler[list[int]]):
    """The batches of one rank, epoch after epoch without end, from a step on: lists of j = visit * n + i, see `Images`.

    In an epoch every sample is taken exactly once over all ranks, in an order drawn from (seed, epoch), and every rank has as
    many steps. The last step's batches are shorter; a batch of fewer than LEAST takes some that `count` and `weight` do not
    count.

    With `repeats` R (repeated augmentation), an epoch takes 1/R of the samples, each R times in a row: on R ranks, if there
    are as many.
    """

    def __init__(
        self, n: int, batch: int, rank: int = 0, world: int = 1, seed: int = 0, shuffle: bool = True, repeats: int = 1
    ) -> None:
        self.n, self.batch, self.rank, self.world = n, batch, rank, world
        self.seed, self.shuffle, self.repeats = seed, shuffle, repeats
        self.start = 0

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.n // (self.batch * self.world))

    def groups(self, n: int) -> list[range]:
        """Return an epoch's steps by groups of n, each an update; the last one may have fewer."""
        return [range(k, min(k + n, self.steps)) for k in range(0, self.steps, n)]

    def order(self, epoch: int) -> np.ndarray:
        """Return the j of an epoch, in order: int64 (n,)."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.n) if self.shuffle else np.arange(self.n)
        if self.repeats == 1:
            return epoch * self.n + order
        visits = epoch * self.repeats + np.arange(self.n) % self.repeats
        return visits * self.n + order[np.arange(self.n) // self.repeats]

    def total(self, step: int) -> int:
        """Return how many samples a step of an epoch has over all ranks."""
        return min(self.batch * self.world, self.n - step * self.batch * self.world)

    def count(self, step: int, rank: int | None = None) -> int:
        """Return how many of them are a rank's, this one's by default."""
        return max(0, -(-(self.total(step) - (self.rank if rank is None else rank)) // self.world))

    def weight(self, step: int, group: range) -> float:
        """Return what the mean over this rank's batch must count for the sum over `group` and the mean over ranks to be the
        mean over all samples of the group's steps."""
        return self.count(step) * self.world / sum(self.total(each) for each in group)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = divmod(self.start, self.steps)
        while True:
            order = self.order(epoch)
            for step in range(first, self.steps):
                start = step * self.batch * self.world
                mine = order[start + self.rank : start + self.total(step) : self.world]
                yield [*mine.tolist(), *np.resize(order, LEAST).tolist()][: max(len(mine), LEAST)]
            epoch, first = epoch + 1, 0
