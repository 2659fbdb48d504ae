"""The pipeline: images of tars on a disk, of folders, or of shards behind URLs, to batches without end."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batches import Batches
from images import Transform, collate, transformed
from info import INFO, DataError, Split, is_url, read_split
from launch import Place
from stream import Stream
from tars import IMAGES, checked, indexed, mapped, opened


class Images(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Images as bytes: item j = visit * n + i is image i on its visit, so that no worker need be told the epoch.

    An item is (uint8 (1 or 3, size, size), label). What is random of it depends on (seed, visit, i) alone. `dataset` is the
    hash that tells one dataset from another.
    """

    def __init__(self, n: int, n_classes: int, dataset: str, transform: Transform, seed: int) -> None:
        self.n, self.n_classes, self.dataset = n, n_classes, dataset
        self.transform, self.seed = transform, seed

    def read(self, i: int) -> tuple[bytes, int, str]:
        """Return an image's file, its label, and its name for messages."""
        raise NotImplementedError

    def __getitem__(self, j: int) -> tuple[torch.Tensor, int]:
        visit, i = divmod(j, self.n)
        content, label, name = self.read(i)
        return transformed(content, name, self.transform, self.seed, visit, i), label


class Shards(Images):
    """The images of a split's tars on a disk."""

    def __init__(self, split: Split, index: np.ndarray, transform: Transform, seed: int) -> None:
        super().__init__(len(index), split.n_classes, split.spec_hash, transform, seed)
        self.split, self.index = split, index

    def read(self, i: int) -> tuple[bytes, int, str]:
        shard, offset, size, label = self.index[i].tolist()
        path = self.split.where(shard)
        return os.pread(opened(path), size, offset), label, f"`{path}`: the image at byte {offset}"


class Folder(Images):
    """The images of a folder with one folder for each class."""

    def __init__(self, folder: Path, transform: Transform, seed: int) -> None:
        self.classes = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        self.files = [
            (str(path), label)
            for label, name in enumerate(self.classes)
            for path in sorted((folder / name).iterdir())
            if path.suffix.lower().lstrip(".") in IMAGES
        ]
        if not self.files:
            raise DataError(f"`{folder}` holds no folders of classes with images ({', '.join(IMAGES)}) in them")
        names = [f"{label} {Path(path).name}" for path, label in self.files]
        dataset = hashlib.sha256("\n".join([*self.classes, *names]).encode()).hexdigest()
        super().__init__(len(self.files), len(self.classes), dataset, transform, seed)

    def must_have_the_classes_of(self, other: Folder) -> None:
        """Refuse another split's folder that has other classes, whose labels would mean something else."""
        if self.classes != other.classes:
            names = sorted(set(self.classes) ^ set(other.classes))
            raise DataError(
                f"the splits' folders have other classes: {', '.join(names[:4])}{', ...' * (len(names) > 4)}"
            )

    def read(self, i: int) -> tuple[bytes, int, str]:
        path, label = self.files[i]
        return Path(path).read_bytes(), label, f"`{path}`"


def open_split(
    data: str, name: str, n_classes: int | None, out: Path, transform: Transform, seed: int, place: Place
) -> Images | Stream:
    """Return a split's images; DataError says what is wrong with it.

    n_classes : how many there are, where `_info.json` does not say. out : the run's directory; the first process writes the
    index of the tars there while the others wait.
    """
    is_folder = not is_url(data) and Path(data).is_dir() and not (Path(data) / INFO).exists()
    if is_folder and (folders := sorted(each.name for each in Path(data).iterdir() if each.is_dir())):
        if name not in folders:
            raise DataError(
                f"`--data` (={data}) has no {INFO} (is its bake complete?) and no folder {name}, but"
                f" {', '.join(folders[:4])}; --train-split and --val-split name folders"
            )
        return Folder(Path(data) / name, transform, seed)
    split, path, problem = read_split(data, name, n_classes), out, ""
    if split.is_remote:
        return Stream(split, transform, seed)
    if place.is_first:
        try:
            path = indexed(split, out)
        except DataError as error:
            problem = str(error)
    said, problem = place.from_first((str(path), problem))
    if problem:
        raise DataError(problem)
    if not place.is_first:
        checked(split)  # each machine may have a copy of its own
    return Shards(split, mapped(Path(said)), transform, seed)


def _go_on(worker: int) -> None:
    """Leave it to the main process what SIGTERM and Ctrl-C mean: all processes get them, and the run is to save first."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def loader(samples: Images | Stream, batches: Batches, workers: int, pin: bool) -> Iterator[Any]:
    """Return batches without end. Workers are started once: one that is forked again later can hang beside gloo's threads."""
    options: dict[str, Any] = {
        "num_workers": workers, "persistent_workers": workers > 0, "pin_memory": pin, "worker_init_fn": _go_on,
    }  # fmt: skip
    if isinstance(samples, Stream):
        samples.batches = batches
        return iter(torch.utils.data.DataLoader(samples, batch_size=None, **options))
    return iter(torch.utils.data.DataLoader(samples, batch_sampler=batches, collate_fn=collate, **options))
