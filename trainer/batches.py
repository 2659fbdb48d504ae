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
    order drawn from (seed, epoch). With `repeats` R (repeated augmentation), an epoch takes 1/R of the samples, each R
    times in a row.

    An update takes the next `images_per_update` samples, dealt in turn to its blocks: `accumulate` steps of each rank. So the
    blocks of an update depend on `batch` and their number, not on who computes them. The blocks of an epoch's last
    update are shorter. A batch below SMALLEST is filled up with samples that `count` leaves out.
    """

    n: int
    batch: int
    rank: int = 0
    world_size: int = 1
    seed: int = 0
    shuffle: bool = True
    repeats: int = 1
    accumulate: int = 1
    start: int = 0

    @property
    def n_blocks(self) -> int:
        """Number of blocks of an update."""
        return self.world_size * self.accumulate

    @property
    def images_per_update(self) -> int:
        """Number of samples of an update."""
        return self.batch * self.n_blocks

    @property
    def updates(self) -> int:
        """Number of updates per epoch."""
        return -(-self.n // self.images_per_update)

    @property
    def steps(self) -> int:
        """Number of steps per epoch."""
        return self.updates * self.accumulate

    def block(self, step: int) -> int:
        """Return which block of its update a step is."""
        return step % self.accumulate * self.world_size + self.rank

    def order(self, epoch: int) -> np.ndarray:
        """Return an epoch's samples in order, int64 (n,)."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.n) if self.shuffle else np.arange(self.n)

    def total(self, step: int) -> int:
        """Count the samples of a step's update, over all ranks."""
        return min(self.images_per_update, self.n - step // self.accumulate * self.images_per_update)

    def count(self, step: int) -> int:
        """Count a step's samples on this rank."""
        return len(range(self.block(step), self.total(step), self.n_blocks))

    def length(self, steps: range) -> int:
        """Count this rank's samples in some steps of an epoch."""
        last = (step for step in range(self.steps - self.accumulate, self.steps) if step in steps)
        return len(steps) * self.batch - sum(self.batch - self.count(step) for step in last)

    def weight(self, step: int) -> float:
        """Return the weight of this rank's batch mean.

        Summed over an update's steps and averaged over ranks, weighted means are the mean over all its samples.
        """
        return self.count(step) * self.world_size / self.total(step)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = divmod(self.start, self.steps)
        while True:
            order = self.order(epoch)
            for step in range(first, self.steps):
                before = step // self.accumulate * self.images_per_update
                places = np.arange(before + self.block(step), before + self.total(step), self.n_blocks)
                if len(places) < SMALLEST:
                    places = np.append(places, np.arange(SMALLEST) % self.n)[:SMALLEST]
                visits = epoch * self.repeats + places % self.repeats
                yield (visits * self.n + order[places // self.repeats]).tolist()
            epoch, first = epoch + 1, 0
