"""Shards behind URLs, read by webdataset from one end to the other: ranges of samples cut inside shards.

An epoch lays the shards, in an order drawn from (seed, epoch), in a circle and begins at a sample drawn from them, too. Each
loader worker of each rank takes an arc, as long as its batches need, so that every sample is taken once and every rank has as
many steps, whatever the numbers of shards, ranks and workers.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from time import sleep
from typing import Any

import numpy as np
import torch

from batches import LEAST, Batches
from images import Transform, collate, transformed
from info import DataError, Split, why
from tars import IMAGES

SHUFFLE = 1000
"""How many samples of its arc a worker holds to draw from."""
TRIES = 5
"""How often a shard is opened in vain before it is given up, waiting 1, 2, 4, ... seconds in between."""

_PIECE = 1 << 16

Sample = tuple[bytes, int, str, int, int]
"""Content, label, name for messages, visit, number in the split."""


class _Hashed:
    """A tar behind a URL, whose MD5 is taken as it is read."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._md5 = stream, hashlib.md5(usedforsecurity=False)

    def read(self, n: int = -1) -> bytes:
        """Return the next bytes, at most n of them."""
        content: bytes = self._stream.read(n)
        self._md5.update(content)
        return content

    def md5(self) -> str:
        """Read what is left, and return the MD5 of all."""
        while self.read(_PIECE):
            pass
        return self._md5.hexdigest()


class Stream(torch.utils.data.IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """The batches of one rank from a split behind a URL, without end; what is random of an image is as in `Images`.

    With repeated augmentation a sample's visits are on one rank, near each other.
    """

    batches: Batches
    """Set before the first batch: how many samples each step has, where to begin, whether to shuffle."""

    def __init__(self, split: Split, transform: Transform, seed: int) -> None:
        self.n, self.n_classes, self.dataset = sum(split.lengths), split.n_classes, split.spec_hash
        self.split, self.transform, self.seed = split, transform, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        here = torch.utils.data.get_worker_info()
        workers = here.num_workers if here else 1
        worker = ((here.id if here else 0) + self.batches.start) % workers
        first_epoch, n_steps = self.batches.start // self.batches.steps, self.batches.steps
        for epoch in itertools.count(first_epoch):
            samples = self._samples(epoch, worker, workers)
            for step in self._steps(epoch, worker, workers):
                batch = list(itertools.islice(samples, self.batches.count(step)))
                if epoch * n_steps + step >= self.batches.start:
                    yield self._batch(batch)

    def _batch(self, samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        images = [
            (transformed(content, name, self.transform, self.seed, visit, i), label)
            for content, label, name, visit, i in samples
        ]
        if not images:
            blank = torch.from_numpy(self.transform(np.zeros((64, 64, 1), dtype=np.uint8))).permute(2, 0, 1)
            images = [(blank, 0)]
        return collate([*images, *images[:1] * (LEAST - len(images))])  # what is added does not count

    def _steps(self, epoch: int, worker: int, workers: int) -> range:
        """Return a worker's steps of an epoch: the loader asks its workers in turn."""
        return range((worker - epoch * self.batches.steps) % workers, self.batches.steps, workers)

    def arc(self, epoch: int, worker: int, workers: int) -> tuple[int, int]:
        """Return from which visit of an epoch to which a worker's batches go, of all ranks' visits laid end to end."""
        b = self.batches
        before = sum((b.steps - 1) * b.batch + b.count(b.steps - 1, rank) for rank in range(b.rank))
        mine = [sum(b.count(step) for step in self._steps(epoch, each, workers)) for each in range(worker + 1)]
        return before + sum(mine[:-1]), before + sum(mine)

    def pieces(self, epoch: int, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yield (shard, from, to) that make up an arc of samples of the epoch's circle."""
        shards, turn = np.arange(len(self.split.lengths)), 0
        if self.batches.shuffle:
            draw = np.random.default_rng((self.seed, epoch))
            shards, turn = draw.permutation(shards), int(draw.integers(self.n))
        lengths = np.array(self.split.lengths)[shards]
        ends = np.cumsum(lengths)
        while first < last:
            at = (first + turn) % self.n
            k = int(np.searchsorted(ends, at, side="right"))
            low, n = at - int(ends[k] - lengths[k]), min(int(ends[k]) - at, last - first)
            yield int(shards[k]), low, low + n
            first += n

    def _samples(self, epoch: int, worker: int, workers: int) -> Iterator[Sample]:
        """Yield what a worker takes in an epoch; shuffled by webdataset's buffer, seeded."""
        from webdataset import filters

        visits = self._visits(epoch, *self.arc(epoch, worker, workers))
        if not self.batches.shuffle:
            return visits
        rng = random.Random(f"{self.seed} {epoch} {self.batches.rank} {worker}")
        return iter(filters.shuffle(SHUFFLE, initial=SHUFFLE, rng=rng)(visits))

    def _visits(self, epoch: int, first: int, last: int) -> Iterator[Sample]:
        repeats, starts = self.batches.repeats, np.cumsum((0, *self.split.lengths))
        at = first // repeats
        for shard, low, high in self.pieces(epoch, at, -(-last // repeats)):
            for k, sample in enumerate(self._read(shard, low, high), int(starts[shard]) + low):
                content, label, name = self._parsed(sample, shard)
                for visit in range(max(first, at * repeats), min(last, (at + 1) * repeats)):
                    yield content, label, name, epoch * repeats + visit % repeats, k
                at += 1

    def _parsed(self, sample: dict[str, Any], shard: int) -> tuple[bytes, int, str]:
        name = f"`{self.split.where(shard)}`: {sample['__key__']}"
        image = next(sample[ending] for ending in IMAGES if ending in sample)
        try:
            label = int(sample["cls"])
        except ValueError:
            raise DataError(f"{name}.cls is no whole number") from None
        if not 0 <= label < self.split.n_classes:
            raise DataError(f"{name}.cls is {label}; there are {self.split.n_classes} classes")
        return image, label, name

    def _must_end(self, shard: int, samples: Iterator[dict[str, Any]], tar: _Hashed) -> None:
        """Refuse a shard that holds more than it should, or other bytes."""
        where, md5 = self.split.where(shard), self.split.md5s[shard] if self.split.md5s else None
        if next(samples, None) is not None:
            raise DataError(f"`{where}` holds more samples than the {self.split.lengths[shard]:,} that _info.json says")
        if md5 not in (None, found := tar.md5()):
            raise DataError(
                f"`{where}` has the MD5 {found}; _info.json says {md5}: it is damaged, or another dataset's"
            )

    def _read(self, shard: int, low: int, high: int) -> Iterator[dict[str, Any]]:
        """Yield some of a shard's samples; a connection that is cut is made again, and goes on where it was cut."""
        from webdataset import gopen
        from webdataset.tariterators import group_by_keys, tar_file_expander

        url, length = self.split.where(shard), self.split.lengths[shard]
        failures, problem = 0, ""
        while failures < TRIES:
            first, problem = low, "it is cut off"
            try:
                tar = _Hashed(gopen(url))
                samples = iter(group_by_keys(tar_file_expander([{"url": url, "stream": tar}])))
                for sample in itertools.islice(samples, low, high):
                    if "cls" not in sample or not any(ending in sample for ending in IMAGES):  # cut between its members
                        problem = f"{sample['__key__']} has no .cls, or no image ({', '.join(IMAGES)})"
                        break
                    if low + 1 == high == length:  # before the last is given, after which nobody may ask again
                        self._must_end(shard, samples, tar)
                    yield sample
                    low += 1
            except DataError:
                raise
            except Exception as error:  # the pipe, tarfile and its decompressors each raise their own kinds
                problem = why(error)
            if low == high:
                return
            failures = 1 if low > first else failures + 1
            if failures < TRIES:
                sleep(2 ** (failures - 1))
        raise DataError(
            f"`{url}`: {low:,} of {length:,} samples could be read, {TRIES} times tried: {problem}; mend it, and the same"
            " command with --resume goes on"
        )
