"""Targets: few labelled real images, chosen by a seed.

A folder of a target has the splits `train`, the labelled images; `held`, training images to choose the learning rate on; and
`test`. Splits are IDX files, or folders with a folder per class, as in the target itself; what is whole is linked.
"""

from __future__ import annotations

import gzip
import math
import zlib
from itertools import product
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fdsl.ladders.ladder import Labels, Target
from fdsl.primitives.errors import InputError
from shards.files import atomic_folder

MAX_IDX_BYTES = 2**32
"""Limit of an IDX file's content."""

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


class Source(Protocol):
    """The training images of a target.

    Attributes
    ----------
    target : where they are, and how many to choose
    labels : int64 (images,), 0 .. classes - 1
    """

    target: Target
    labels: Numbers

    def write(self, folder: Path, split: str, chosen: Numbers) -> None:
        """Write some images as a split of a folder."""

    def link_test(self, folder: Path) -> None:
        """Link the target's test split into a folder."""


class Subset(NamedTuple):
    """Training images of a target, by number in its order."""

    train: Numbers
    held: Numbers


class IdxSource:
    """A target of IDX files, such as MNIST's.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
    """

    def __init__(self, target: Target) -> None:
        self.target, self.folder = target, Path(target.data)
        for split, content in product((target.train, target.test), ("images-idx3", "labels-idx1")):
            if not (path := self._path(split, content)).is_file():
                raise InputError(f"`{path}` is missing; `train` and `test` name splits in `{self.folder}`")
        self.labels = self._read(target.train, "labels-idx1", 1).astype(np.int64)
        self._images: Bytes | None = None

    def write(self, folder: Path, split: str, chosen: Numbers) -> None:
        """Write some images as a split of a folder."""
        if self._images is None:
            self._images = self._read(self.target.train, "images-idx3", 3)
        if len(self._images) != len(self.labels):
            raise InputError(
                f"`{self.folder}` has {len(self._images):,} training images and {len(self.labels):,} labels"
            )
        for content, array in (("images-idx3", self._images), ("labels-idx1", self.labels.astype(np.uint8))):
            part = array[chosen]
            header = bytes([0, 0, 8, part.ndim]) + np.array(part.shape, dtype=">u4").tobytes()
            (folder / f"{split}-{content}-ubyte").write_bytes(header + part.tobytes())

    def link_test(self, folder: Path) -> None:
        """Link the target's test split into a folder."""
        for content in ("images-idx3", "labels-idx1"):
            path = self._path(self.target.test, content)
            (folder / path.name.replace(self.target.test, "test", 1)).symlink_to(path.absolute())

    def _path(self, split: str, content: str) -> Path:
        path = self.folder / f"{split}-{content}-ubyte"
        zipped = path.with_name(f"{path.name}.gz")
        return zipped if zipped.exists() and not path.exists() else path

    def _read(self, split: str, content: str, n_dimensions: int) -> Bytes:
        """Return an IDX file's content, uint8."""
        path = self._path(split, content)
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                kind = file.read(4)
                shape = [int.from_bytes(file.read(4)) for _ in range(n_dimensions)]
                n_bytes = math.prod(shape)
                is_right = kind == bytes([0, 0, 8, n_dimensions]) and n_bytes <= MAX_IDX_BYTES
                data = file.read(n_bytes + 1) if is_right else b""
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"`{path}` cannot be read: {error}; copy it again") from None
        if not is_right or len(data) != n_bytes:
            raise InputError(f"`{path}` is not an IDX file of bytes with {n_dimensions} dimensions; copy it again")
        return np.frombuffer(data, dtype=np.uint8).reshape(shape)


class FolderSource:
    """A target of folders: one per split and class."""

    def __init__(self, target: Target) -> None:
        self.target, self.folder = target, Path(target.data)
        split, test = self.folder / target.train, self.folder / target.test
        if not test.is_dir():
            raise InputError(f"`{test}` is not a folder; `test` names a split beside `{target.train}`")
        self.classes = sorted(path for path in split.iterdir() if path.is_dir())
        if not self.classes:
            raise InputError(f"`{split}` has no folder per class; move the images of each class into one")
        files = (path for one in self.classes for path in sorted(one.iterdir()) if path.is_file())
        self.files = [path for path in files if not path.name.startswith(".")]  # .DS_Store is no image
        for empty in sorted({*self.classes} - {path.parent for path in self.files}):
            raise InputError(f"`{empty}` has no images; each folder in `{split}` is a class: delete it or fill it")
        order = {path: label for label, path in enumerate(self.classes)}
        self.labels = np.array([order[path.parent] for path in self.files], dtype=np.int64)

    def write(self, folder: Path, split: str, chosen: Numbers) -> None:
        """Link some images as a split of a folder."""
        for number in chosen:
            path = self.files[number]
            link = folder / split / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.absolute())

    def link_test(self, folder: Path) -> None:
        """Link the target's test split into a folder."""
        (folder / "test").symlink_to((self.folder / self.target.test).absolute())


def open_target(target: Target) -> Source:
    """Return the training images of a target.

    Raises
    ------
    InputError
        A split is missing, or cannot be read.
    """
    folder = Path(target.data)
    if (folder / target.train).is_dir():
        return FolderSource(target)
    if any(folder.glob(f"{target.train}-labels-idx1-ubyte*")):
        return IdxSource(target)
    raise InputError(f"`{folder}` has no split {target.train!r}: neither a folder nor {target.train}-images-idx3-ubyte")


def choose(labels: Numbers, n_labels: Labels, n_held: int, seed: int) -> Subset:
    """Choose labelled and held-out images of each class.

    With more labels, the same seed keeps the images chosen with fewer, and holds out the same.

    Parameters
    ----------
    labels : int64 (images,)
    n_labels : images of each class, or all that are not held out
    n_held : images of each class

    Raises
    ------
    InputError
        A class has too few images, or there is none.
    """
    if not len(labels):
        raise InputError("the target has no training images")
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = []
    for label in np.unique(labels):
        own = order[labels[order] == label]
        n = len(own) - n_held if n_labels == "all" else n_labels
        if not 0 < n <= len(own) - n_held:
            need = f"{n_held:,} held out and {n_labels if n_labels != 'all' else 1:,} to train on"
            raise InputError(f"class {label} has {len(own):,} training images, fewer than {need}")
        parts.append((own[n_held : n_held + n], own[:n_held]))
    train, held = zip(*parts, strict=True)
    return Subset(np.concatenate(train), np.concatenate(held))


def count_train(folder: Path) -> int:
    """Return the number of training images of a made folder.

    Links count, even if the images they name were moved.

    Raises InputError if there is none.
    """
    labels = folder / "train-labels-idx1-ubyte"
    n_images = labels.stat().st_size - 8 if labels.is_file() else sum(1 for _ in folder.glob("train/*/*"))
    if n_images < 1:
        raise InputError(f"`{folder}` has no training images; `fdsl ladder run` makes it")
    return n_images


def subset_sizes(source: Source) -> dict[Labels, int]:
    """Count the images to train on, by labels per class.

    Raises InputError if a class has too few images.
    """
    target = source.target
    return {n_labels: len(choose(source.labels, n_labels, target.held, seed=0).train) for n_labels in target.labels}


def make_subsets(source: Source, n_seeds: int, folder: Path) -> None:
    """Make a target's missing folders, `LABELS/seed-S`."""
    for n_labels, seed in product(source.target.labels, range(n_seeds)):
        path = folder / str(n_labels) / f"seed-{seed}"
        if not path.exists():
            subset = choose(source.labels, n_labels, source.target.held, seed)
            with atomic_folder(path) as new:
                source.write(new, "train", subset.train)
                source.write(new, "held", subset.held)
                source.link_test(new)
