"""WebDataset shards on a disk as a map from sample to image, and the order in which ranks and epochs take them.

A directory holds tars named in `_info.json` (`splits`, as timm's reader wants it), each sample a KEY.png (or .jpg, .webp)
and a KEY.cls. Their offsets are found once, by walking the 512-byte headers, and kept in one array that all ranks map into
memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import random
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

BLOCK = 512
IMAGES = (".png", ".jpg", ".jpeg", ".webp")
SHARD, OFFSET, SIZE, LABEL = range(4)


class DataError(ValueError):
    """What is wrong with a dataset, in one line."""


@dataclass(frozen=True)
class Split:
    """What `_info.json` says of a split: its tars, how many samples each holds, and how many classes there are."""

    folder: Path
    name: str
    tars: tuple[str, ...]
    lengths: tuple[int, ...]
    n_classes: int
    spec_hash: str

    def __len__(self) -> int:
        return sum(self.lengths)


def read_split(folder: Path, name: str) -> Split:
    """Return a split of a directory; DataError says what `_info.json` lacks."""
    path = folder / "_info.json"
    try:
        info = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"`--data` (={folder}) has no _info.json: it is no directory of shards, or its bake is not complete"
        ) from None
    except ValueError as error:
        raise DataError(f"`{path}` is not JSON: {error}") from None
    split = info.get("splits", {}).get(name)
    if not split or not split.get("filenames"):
        raise DataError(f"`{path}` has no split {name!r}; it has {', '.join(info.get('splits', {})) or 'none'}")
    lengths = tuple(split.get("shard_lengths") or ())
    if len(lengths) != len(split["filenames"]):
        raise DataError(f"`{path}`: `shard_lengths` of {name} must say how many samples each of its tars holds")
    return Split(
        folder,
        name,
        tuple(split["filenames"]),
        lengths,
        int(info.get("num_classes", 0)),
        str(info.get("spec_hash", "")),
    )


def _members(content: mmap.mmap, tar: str) -> Iterator[tuple[str, int, int]]:
    """Yield the name, offset and size of each regular member of a plain USTAR or GNU tar."""
    at, end = 0, len(content)
    while at + BLOCK <= end:
        header = content[at : at + BLOCK]
        if not header[0]:
            return
        try:
            size = int(header[124:136].rstrip(b" \0") or b"0", 8)
            name = header[:100].rstrip(b"\0").decode()
        except ValueError:
            raise DataError(f"`{tar}`: no tar header at byte {at}; check it with `fdsl verify`") from None
        if header[257:262] != b"ustar":
            raise DataError(f"`{tar}`: no tar header at byte {at}; check it with `fdsl verify`")
        if at + BLOCK + size > end:
            raise DataError(f"`{tar}` is truncated within {name}; check it with `fdsl verify`")
        if header[156:157] in (b"0", b"\0"):
            yield name, at + BLOCK, size
        at += BLOCK + -(-size // BLOCK) * BLOCK


def _scan(path: Path, number: int, expected: int, n_classes: int) -> np.ndarray:
    """Return the samples of one tar: int64 (samples, 4); DataError if they are not as many as `_info.json` says."""
    if not path.is_file():
        raise DataError(f"`{path}` is missing, and _info.json names it")
    rows: list[tuple[int, int, int, int]] = []
    image: tuple[str, int, int] | None = None
    label: tuple[str, int] | None = None
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise DataError(f"`{path}` is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for name, offset, size in _members(content, str(path)):
                key, _, ending = name.partition(".")
                if f".{ending}" in IMAGES:
                    image = key, offset, size
                elif ending == "cls":
                    try:
                        label = key, int(content[offset : offset + size])
                    except ValueError:
                        raise DataError(f"`{path}`: {name} is no whole number") from None
                if image and label and image[0] == label[0]:
                    if not 0 <= label[1] < n_classes:
                        raise DataError(f"`{path}`: {name} is {label[1]}; there are {n_classes} classes")
                    rows.append((number, image[1], image[2], label[1]))
                    image = label = None
    if len(rows) != expected:
        raise DataError(
            f"`{path}` holds {len(rows):,} samples; _info.json says {expected:,}: check it with `fdsl verify`"
        )
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def index_of(split: Split, cache: Path, build: bool) -> np.ndarray:
    """Return where every sample of a split stands: int64 (samples, 4), mapped from a file in `cache`.

    Columns: SHARD, OFFSET, SIZE, LABEL. One process builds the file; the others call with `build` false once it is there.
    """
    try:
        sizes = [(split.folder / tar).stat().st_size for tar in split.tars]
    except FileNotFoundError as error:
        raise DataError(f"`{error.filename}` is missing, and _info.json names it") from None
    what = json.dumps([str(split.folder.resolve()), split.tars, split.lengths, sizes])
    path = cache / f"index-{split.name}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.npy"
    if build and not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        parts = [
            _scan(split.folder / tar, number, length, split.n_classes)
            for number, (tar, length) in enumerate(zip(split.tars, split.lengths, strict=True))
        ]
        hidden = path.with_suffix(f".{os.getpid()}.tmp.npy")
        np.save(hidden, np.concatenate(parts))
        hidden.replace(path)
    return np.load(path, mmap_mode="r")


@cache
def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY)


def allow_many_files() -> None:
    """Let this process, and the workers that it starts, keep every tar open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Images(torch.utils.data.Dataset):
    """Images as bytes: item j = visit * len + i is image i on its visit, so that no worker need be told the epoch.

    An item is (uint8 (channels, size, size), label), one channel if the first image is grey. What is random of it depends on
    (seed, visit, i) alone.
    """

    def __init__(self, n: int, transform: Callable[[Image.Image], Image.Image], seed: int) -> None:
        self.n, self.transform, self.seed = n, transform, seed
        with Image.open(io.BytesIO(self.read(0)[0])) as first:
            self.mode = "L" if first.mode in ("1", "L") else "RGB"

    def read(self, i: int) -> tuple[bytes, int, str]:
        """Return an image's file, its label, and its name for messages."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, j: int) -> tuple[torch.Tensor, int]:
        visit, i = divmod(j, self.n)
        state = np.random.SeedSequence((self.seed, visit, i)).generate_state(2)
        random.seed(int(state[0]))
        np.random.seed(state[1])
        content, label, name = self.read(i)
        try:
            with Image.open(io.BytesIO(content)) as image:
                pixels = np.array(self.transform(image.convert(self.mode)))
        except (OSError, SyntaxError) as error:
            raise DataError(f"{name} cannot be decoded: {error}") from None
        return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1), label


class Shards(Images):
    """The images of a split's tars."""

    def __init__(
        self, split: Split, index: np.ndarray, transform: Callable[[Image.Image], Image.Image], seed: int
    ) -> None:
        self.split, self.index = split, index
        super().__init__(len(index), transform, seed)

    def read(self, i: int) -> tuple[bytes, int, str]:
        shard, offset, size, label = self.index[i].tolist()
        path = str(self.split.folder / self.split.tars[shard])
        return os.pread(_opened(path), size, offset), label, f"`{path}`: the image at byte {offset}"


class Folder(Images):
    """The images of a folder with one folder for each class."""

    def __init__(self, folder: Path, transform: Callable[[Image.Image], Image.Image], seed: int) -> None:
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        self.n_classes = len(classes)
        self.files = [
            (str(path), label)
            for label, name in enumerate(classes)
            for path in sorted((folder / name).iterdir())
            if path.suffix.lower() in IMAGES
        ]
        if not self.files:
            raise DataError(f"`{folder}` holds no folders of classes with images ({', '.join(IMAGES)}) in them")
        super().__init__(len(self.files), transform, seed)

    def read(self, i: int) -> tuple[bytes, int, str]:
        path, label = self.files[i]
        return Path(path).read_bytes(), label, f"`{path}`"


class Batches(torch.utils.data.Sampler[list[int]]):
    """The batches of one rank, epoch after epoch without end, from a step on: lists of j, see `Images`.

    In an epoch every sample is taken exactly once over all ranks, in an order drawn from (seed, epoch), and every rank has as
    many steps. The last step's batches are shorter; where it has fewer samples than there are ranks, some ranks take one that
    `count` and `weight` do not count.

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

    def count(self, step: int) -> int:
        """Return how many of them are this rank's."""
        return max(0, -(-(self.total(step) - self.rank) // self.world))

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
                yield (mine if len(mine) else order[:1]).tolist()
            epoch, first = epoch + 1, 0


def loader(samples: Images, batches: Batches, workers: int, pin: bool) -> Iterator[Any]:
    """Return batches without end. Workers are started once: one that is forked again later can hang beside gloo's threads."""
    return iter(
        torch.utils.data.DataLoader(
            samples, batch_sampler=batches, num_workers=workers, persistent_workers=workers > 0, pin_memory=pin
        )
    )
