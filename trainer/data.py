"""Samples from tars, folders and URLs, and their loader."""

import abc
import functools
import hashlib
import importlib
import io
import itertools
import os
import random
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import torch
from torchvision.datasets import ImageFolder
from webdataset import filters, gopen

from trainer.batches import SMALLEST, Batches
from trainer.errors import InputError, one_line
from trainer.idx import Idx, is_idx
from trainer.images import LARGEST, Sample, Transform, collate, load
from trainer.info import INFO, Split, is_url, read_split
from trainer.kernels import compile_kernels
from trainer.ranks import Ranks
from trainer.recipe import Options
from trainer.tars import Sequential, build_index, check_sizes, samples

SHUFFLE = 1000  # samples in a worker's shuffle buffer
N_OPEN = max(1, min(512, os.sysconf("SC_OPEN_MAX") // 4))  # tars; the loader's batches are open files, too
_open_tar = functools.lru_cache(maxsize=N_OPEN)(io.FileIO)
TOGETHER = 16  # images that are rendered side by side, before they are cropped
TRIES = 5  # failures in a row to read a sample; waits 1, 2, 4, ... seconds between them


class Images(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Samples read at random.

    Item j is sample j % n on visit j // n.

    Visits differ from epoch to epoch. dataset : hash that tells datasets apart. classes : their names, if known.
    """

    classes: Sequence[str] = ()

    def __init__(self, n: int, n_classes: int, dataset: str, transform: Transform, seed: int) -> None:
        self.n, self.n_classes, self.dataset = n, n_classes, dataset
        self.transform, self.seed = transform, seed

    @abc.abstractmethod
    def read(self, i: int) -> tuple[bytes | np.ndarray, int, str]:
        """Return a sample's file or pixels, label, and name for errors."""

    def __getitem__(self, j: int) -> tuple[torch.Tensor, int]:
        visit, i = divmod(j, self.n)
        return load((*self.read(i), visit, i), self.transform, self.seed)


class Folder(Images):
    """Images of a folder with one folder per class."""

    def __init__(self, folder: Path, transform: Transform, seed: int) -> None:
        self.files = ImageFolder(folder)
        self.classes = self.files.classes
        names = [*self.classes, *(f"{label} {Path(path).name}" for path, label in self.files.samples)]
        dataset = hashlib.sha256("\n".join(names).encode()).hexdigest()
        super().__init__(len(self.files), len(self.classes), dataset, transform, seed)

    def read(self, i: int) -> tuple[bytes, int, str]:
        path, label = self.files.samples[i]
        with Path(path).open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise InputError(f"`{path}` has more than the {LARGEST:,} bytes that an image may have")
        return content, label, f"`{path}`"


class Shards(Images):
    """Images of a split's tars.

    index : written by `build_index`.
    """

    def __init__(self, split: Split, index: Path, transform: Transform, seed: int) -> None:
        super().__init__(split.num_samples, split.n_classes, split.dataset, transform, seed)
        self.split, self.index = split, np.load(index, mmap_mode="r")

    def read(self, i: int) -> tuple[bytes, int, str]:
        shard, offset, size, label = self.index[i].tolist()
        path = self.split.path(shard)
        return os.pread(_open_tar(path).fileno(), size, offset), label, f"`{path}`: the image at byte {offset}"


class Rendered(Images):
    """Images of an object that gives pixels, not files.

    source : has `len`, `n_classes`, `hash`, and items (uint8 image, label); renders a batch in `__getitems__`, if it has it.
    """

    def __init__(self, source: Any, name: str, transform: Transform, seed: int) -> None:
        super().__init__(len(source), source.n_classes, source.hash, transform, seed)
        self.source, self.name = source, name

    def read(self, i: int) -> tuple[np.ndarray, int, str]:
        return *self.source[i], self.name

    def __getitems__(self, numbers: list[int]) -> list[tuple[torch.Tensor, int]]:
        """Return several items; a loader calls this once per batch."""
        places = [divmod(j, self.n) for j in numbers]
        items = self._items([i for _, i in places])
        return [
            load((*item, self.name, *place), self.transform, self.seed)
            for item, place in zip(items, places, strict=True)
        ]

    def _items(self, numbers: list[int]) -> Iterator[tuple[np.ndarray, int]]:
        """Yield items, of which a few are held at a time."""
        many = getattr(self.source, "__getitems__", None)
        for few in (numbers[k : k + TOGETHER] for k in range(0, len(numbers), TOGETHER)):
            yield from many(few) if many else (self.source[i] for i in few)


class Stream(torch.utils.data.IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches of one rank, from a URL's shards.

    Shards are read from start to end. Randomness is as in `Images`.

    An epoch permutes the shards, joins them to a circle, and draws a first sample, all by (seed, epoch). Each loader
    worker of each rank takes an arc as long as its batches need. So every sample is taken once and every rank has the
    same number of steps, for any numbers of shards, ranks and workers. A sample's repeated visits are on one rank,
    close to each other.
    """

    batches: Batches
    classes: tuple[str, ...] = ()

    def __init__(self, split: Split, transform: Transform, seed: int) -> None:
        self.n, self.n_classes, self.dataset = split.num_samples, split.n_classes, split.dataset
        self.split, self.transform, self.seed = split, transform, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        info = torch.utils.data.get_worker_info()
        workers = info.num_workers if info else 1
        worker = ((info.id if info else 0) + self.batches.start) % workers
        first_epoch, first_step = divmod(self.batches.start, self.batches.steps)
        for epoch in itertools.count(first_epoch):
            samples = self._samples(epoch, worker, workers)
            for step in self._steps(epoch, worker, workers):
                batch = list(itertools.islice(samples, self.batches.count(step)))
                if (epoch, step) >= (first_epoch, first_step):
                    batch += self._visits(epoch, 0, SMALLEST - len(batch))  # which `count` leaves out
                    yield collate([load(sample, self.transform, self.seed) for sample in batch])

    def _steps(self, epoch: int, worker: int, workers: int) -> range:
        """Return a worker's steps: the loader asks in turn."""
        return range((worker - epoch * self.batches.steps) % workers, self.batches.steps, workers)

    def arc(self, epoch: int, worker: int, workers: int) -> tuple[int, int]:
        """Return the bounds of a worker's arc of visits."""
        batches = self.batches
        before = sum(replace(batches, rank=rank).length(range(batches.steps)) for rank in range(batches.rank))
        lengths = [batches.length(self._steps(epoch, k, workers)) for k in range(worker + 1)]
        return before + sum(lengths[:-1]), before + sum(lengths)

    def pieces(self, epoch: int, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yield an arc of samples as (shard, low, high)."""
        shards, turn = np.arange(len(self.split.shard_lengths)), 0
        if self.batches.shuffle:
            rng = np.random.default_rng((self.seed, epoch))
            shards, turn = rng.permutation(shards), int(rng.integers(self.n))
        lengths = np.array(self.split.shard_lengths)[shards]
        ends = np.cumsum(lengths)
        while first < last:
            position = (first + turn) % self.n
            k = int(np.searchsorted(ends, position, side="right"))
            low, n = position - int(ends[k] - lengths[k]), min(int(ends[k]) - position, last - first)
            yield int(shards[k]), low, low + n
            first += n

    def _samples(self, epoch: int, worker: int, workers: int) -> Iterator[Sample]:
        """Yield a worker's samples of an epoch, shuffled."""
        samples = self._visits(epoch, *self.arc(epoch, worker, workers))
        rng = random.Random(f"{self.seed} {epoch} {self.batches.rank} {worker}")
        return iter(filters.shuffle(SHUFFLE, initial=SHUFFLE, rng=rng)(samples)) if self.batches.shuffle else samples

    def _visits(self, epoch: int, first: int, last: int) -> Iterator[Sample]:
        """Yield the samples of an arc in order."""
        repeats, starts = self.batches.repeats, np.cumsum((0, *self.split.shard_lengths))
        position = first // repeats
        for shard, low, high in self.pieces(epoch, position, -(-last // repeats)):
            for i, sample in enumerate(self._read(shard, low, high), int(starts[shard]) + low):
                for visit in range(max(first, position * repeats), min(last, (position + 1) * repeats)):
                    yield *sample, epoch * repeats + visit % repeats, i
                position += 1

    def _read(self, shard: int, low: int, high: int) -> Iterator[tuple[bytes, int, str]]:
        """Yield some of a shard's samples; resume cut connections."""
        n_failures = 0
        while low < high:
            before, reason = low, "it ends early"
            try:
                for sample in self._open(shard, low, high):
                    yield sample
                    low += 1
            except InputError:
                raise
            except Exception as error:  # the pipe, tarfile and its decompressors each raise their own kinds
                reason = one_line(error)
            n_failures = 1 if low > before else n_failures + 1
            if low < high and n_failures == TRIES:
                counts = f"{low:,} of {self.split.shard_lengths[shard]:,} samples"
                raise InputError(f"`{self.split.path(shard)}`: {counts} could be read in {TRIES} tries: {reason}")
            if low < high:
                sleep(2 ** (n_failures - 1))

    def _open(self, shard: int, low: int, high: int) -> Iterator[tuple[bytes, int, str]]:
        """Yield file, label and name of a shard's samples."""
        url, length = self.split.path(shard), self.split.shard_lengths[shard]
        read = Sequential(gopen(url))
        found = samples(read, read, url, self.split.n_classes)
        for k, (content, label, name) in enumerate(itertools.islice(found, low, high), low):
            if k + 1 == length:  # before the last sample, after which nobody may ask again
                if next(found, None) is not None:
                    raise InputError(f"`{url}` holds more samples than the {length:,} of {INFO}")
                read.read(1 << 20)  # the rest; longer ones are not tars
                self.split.must_have_sha256(shard, read.hash.hexdigest())
            yield content, label, f"`{url}`: {name}"


HOOK = re.compile(r"[A-Za-z_]\w*(\.\w+)*:.+")


def call_hook(data: str, split: str) -> Any:
    """Return `MODULE.open(ARGUMENT, split=SPLIT)`, see `Rendered`."""
    module, argument = data.split(":", 1)
    try:
        source = importlib.import_module(module).open(argument, split=split)
        image, label = source[0]
        if image.dtype != np.uint8 or not 0 <= label < source.n_classes or not source.hash:
            raise TypeError("its items must be (uint8 image, label), its labels below `n_classes`, its `hash` a text")
    except Exception as error:  # a module of the user's, which may raise anything
        raise InputError(f"`--data` (={data}) cannot be opened: {one_line(error) or type(error).__name__}") from None
    return source


def open_split(options: Options, name: str, transform: Transform, seed: int, ranks: Ranks) -> Images | Stream:
    """Open a split, of whatever kind `--data` is."""
    place, folder = Path(options.data), Path(options.data) / name
    if is_url(options.data):
        return Stream(ranks.from_first(lambda: read_split(options.data, name, options.classes)), transform, seed)
    if not place.exists() and HOOK.fullmatch(options.data):
        source = ranks.from_first(lambda: call_hook(options.data, name))
        source[0]  # compiles here what each loader worker would compile
        return Rendered(source, options.data, transform, seed)
    if is_idx(folder):
        return Rendered(Idx(folder), str(folder), transform, seed)
    if folder.is_dir() and not (place / INFO).exists():
        return Folder(folder, transform, seed)
    split = ranks.from_first(lambda: read_split(options.data, name, options.classes))
    index = ranks.from_first(lambda: build_index(split, options.out))
    if ranks.rank > 0:
        check_sizes(split)  # another machine may have a copy of its own
    return Shards(split, index, transform, seed)


def _ignore_signals(worker: int) -> None:
    """Leave SIGTERM and Ctrl-C to the main process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def loader(samples: Images | Stream, batches: Batches, workers: int, pin: bool) -> Iterator[Any]:
    """Return endless batches; workers start once.

    A worker forked later, beside gloo's threads, can hang.
    """
    compile_kernels()
    options: dict[str, Any] = {"batch_sampler": batches, "collate_fn": collate}
    if isinstance(samples, Stream):
        samples.batches, options = batches, {"batch_size": None}
    options |= {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": pin}
    return iter(torch.utils.data.DataLoader(samples, worker_init_fn=_ignore_signals, **options))
