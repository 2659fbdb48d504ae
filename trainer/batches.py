"""Samples of each rank, epoch after epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

SMALLEST = 2
"""Images in a batch, at least: batch normalization needs two."""


@dataclass(eq=False)
class Batches(torch.utils.data.Sampler[list[int]]):
    """Endless batches of one rank, from step `start` on.

    A batch lists j = visit * n + i, see `Images`. An epoch takes every sample exactly once over all ranks, in an
    order drawn from (seed, epoch), with the same number of steps on every rank. The last step's batches are shorter.
    A batch below SMALLEST is filled up with samples that `count` leaves out. With `repeats` R (repeated
    augmentation), an epoch takes 1/R of the samples, each R times in a row.
    """

    n: int
    batch: int
    rank: int = 0
    world_size: int = 1
    seed: int = 0
    shuffle: bool = True
    repeats: int = 1
    start: int = 0

    @property
    def steps(self) -> int:
        """Number of steps per epoch."""
        return -(-self.n // (self.batch * self.world_size))

    def group(self, k: int, size: int) -> range:
        """Return the steps of an epoch's update k."""
        return range(k * size, min((k + 1) * size, self.steps))

    def order(self, epoch: int) -> np.ndarray:
        """Return an epoch's j in order, int64 (n,)."""
        order = np.random.default_rng((self.seed, epoch)).permutation(self.n) if self.shuffle else np.arange(self.n)
        visits = epoch * self.repeats + np.arange(self.n) % self.repeats
        return visits * self.n + order[np.arange(self.n) // self.repeats]

    def total(self, step: int) -> int:
        """Count a step's samples over all ranks."""
        return min(self.batch * self.world_size, self.n - step * self.batch * self.world_size)

    def count(self, step: int) -> int:
        """Count a step's samples on this rank."""
        return len(range(self.rank, self.total(step), self.world_size))

    def weight(self, step: int, group: range) -> float:
        """Return the weight of this rank's batch mean.

        Summed over a group's steps and averaged over ranks, weighted means are the mean over all its samples.
        """
        return self.count(step) * self.world_size / sum(self.total(k) for k in group)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = divmod(self.start, self.steps)
        while True:
            order = self.order(epoch)
            for step in range(first, self.steps):
                start = step * self.batch * self.world_size
                samples = order[start + self.rank : start + self.total(step) : self.world_size]
                yield [*samples.tolist(), *np.resize(order, SMALLEST).tolist()][: max(len(samples), SMALLEST)]
            epoch, first = epoch + 1, 0
