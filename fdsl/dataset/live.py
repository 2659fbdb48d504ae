"""A split as a map-style dataset, rendered when asked.

Instance j of the spec is instance j + e (train + validation) in epoch e. So epoch 0 is the spec's, and no two epochs or
splits share an instance.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, SupportsIndex

import numpy as np

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.families import Image
from fdsl.dataset.plan import image_key, numbers_at, parse_key, position_of
from fdsl.dataset.spec import SPLITS
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import check_whole_number, shown, suggestion

Item = tuple[Any, ...]
"""Image, label, and the targets if any are asked for."""

N_PIXELS = 1000
"""Images of train whose pixels are hashed to compare two datasets."""

_N_INSTANCES = 2**32
"""Instances that a random stream can address."""


@dataclass(frozen=True, eq=False)
class LiveDataset:
    """A split as a map-style dataset, rendered when asked.

    Item i has the pixels, label and key of position i of the split's shards. It is (image, label) or (image, label, targets):

    - image : uint8 (size_px, size_px), grey; with several views, uint8 (views, size_px, size_px)
    - label : int; the category, 0 .. categories - 1
    - targets : numbers by name; with several views, arrays (views,) by name

    `dataclasses.replace(dataset, epoch=1)` is the same dataset in another epoch.

    Attributes
    ----------
    dataset : Dataset
    split : train or validation
    epoch : 0 is the spec's own images; every other epoch has new images of the same categories
    targets : parameters of the image to return beside the label; a family's VARIANT_SCHEMA lists them
    views : images of an item, all of one category; view k of epoch e is the image of epoch e * views + k

    Raises
    ------
    InputError
        An attribute is wrong, or the split is empty.
    """

    dataset: Dataset
    split: str = "train"
    epoch: int = 0
    targets: Sequence[str] = ()
    views: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.dataset, Dataset):
            raise InputError(f"`dataset` (={shown(self.dataset)}) must be a Dataset; `fdsl.open` takes a preset's name")
        spec = self.dataset.spec
        if self.split not in tuple(SPLITS):
            raise InputError(f"`split` (={shown(self.split)}) must be one of {', '.join(SPLITS)}")
        if not len(self):
            raise InputError(f"`split` (={self.split}) is empty: {spec.name} has no such images")
        n_epochs = _N_INSTANCES // spec.instances.total
        check_whole_number("views", self.views, 1, n_epochs)
        check_whole_number("epoch", self.epoch, 0, n_epochs // self.views - 1)
        if not isinstance(self.targets, list | tuple):
            raise InputError(f"`targets` (={shown(self.targets)}) must be a list or tuple of names")
        known = spec.family_module.VARIANT_SCHEMA.names
        for name in self.targets:
            if name not in known:
                raise InputError(
                    f"`targets` (={shown(name)}) is not a parameter of an image; {suggestion(str(name), known, 'known: {}')}"
                )
        object.__setattr__(self, "targets", tuple(self.targets))

    def __len__(self) -> int:
        return self.dataset.spec.n_images(self.split)

    @property
    def n_classes(self) -> int:
        """Number of categories; labels are below it."""
        return self.dataset.spec.categories

    @property
    def hash(self) -> str:
        """Identity of the dataset: 64 hexadecimal digits.

        It is the same for all splits and epochs.
        """
        return self.dataset.hash

    def __getitem__(self, position: SupportsIndex) -> Item:
        """Return an item; a negative position counts from the end.

        Raises IndexError beyond the ends.
        """
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[SupportsIndex]) -> list[Item]:
        """Return several items, rendered side by side.

        A DataLoader calls this once per batch.
        """
        names = self._names(positions)
        rendered = self.dataset.images(names)
        return [self._item(category, islice(rendered, self.views)) for category, _ in names[:: self.views]]

    def key(self, position: SupportsIndex) -> str:
        """Return the key of an item: of its first view."""
        return image_key(*self._names([position])[0])

    def index(self, key: str) -> int:
        """Return the position of an image by its key.

        Raises
        ------
        InputError
            `key` is malformed, or no image of this split and epoch has it.
        """
        spec = self.dataset.spec
        category, instance = parse_key(key)
        epoch, own = divmod(instance, spec.instances.total)
        if category >= spec.categories or spec.split_of(own) != self.split or epoch // self.views != self.epoch:
            raise InputError(f"`key` (={key}) is not an image of {spec.name}, split {self.split}, epoch {self.epoch}")
        return position_of(spec, category, own)

    def parameters(self, position: SupportsIndex) -> dict[str, Any]:
        """Return the parameters of an item's category and first image, by name."""
        name = self._names([position])[0]
        row = self.dataset.table.slice(name[0], 1).drop_columns(["category", "attempt"]).to_pylist()[0]
        _, variant = next(self.dataset.images([name]))
        return {**row, **_by_name(self.dataset, variant)}

    def _names(self, positions: Iterable[SupportsIndex]) -> list[tuple[int, int]]:
        """Return the (category, instance) of each view of each item."""
        spec, numbers = self.dataset.spec, [self._position(position) for position in positions]
        category, instance = numbers_at(spec, self.split, numbers)
        epochs = range(self.epoch * self.views, (self.epoch + 1) * self.views)
        return [
            (label, number + epoch * spec.instances.total)
            for label, number in zip(category.tolist(), instance.tolist(), strict=True)
            for epoch in epochs
        ]

    def _position(self, position: SupportsIndex) -> int:
        number = operator.index(position)
        if not -len(self) <= number < len(self):
            raise IndexError(f"position {number:,} is not in {-len(self):,}..{len(self) - 1:,}")
        return number % len(self)

    def _item(self, category: int, rendered: Iterator[tuple[Image, tuple[Any, ...]]]) -> Item:
        images, variants = zip(*rendered, strict=True)
        image = images[0] if self.views == 1 else np.stack(images)
        if not self.targets:
            return image, category
        drawn = [_by_name(self.dataset, variant) for variant in variants]
        values = {name: [view[name] for view in drawn] for name in self.targets}
        return image, category, {name: row[0] if self.views == 1 else np.array(row) for name, row in values.items()}


def _by_name(dataset: Dataset, variant: tuple[Any, ...]) -> dict[str, Any]:
    """Return the numbers drawn for an image by name."""
    return dict(zip(dataset.spec.family_module.VARIANT_SCHEMA.names, variant, strict=True))


def find_image(dataset: Dataset, key: str) -> tuple[LiveDataset, int]:
    """Find an image by its key.

    Returns its split and epoch, and its position there.

    Raises
    ------
    InputError
        The dataset has no image of this key.
    """
    spec, (_, instance) = dataset.spec, parse_key(key)
    live = LiveDataset(dataset, spec.split_of(instance), instance // spec.instances.total)
    return live, live.index(key)


def pixels_sha256(live: LiveDataset, n_images: int) -> str:
    """Return the SHA-256 of the pixels of the first images, in order.

    Parameters
    ----------
    n_images : all images, if there are fewer
    """
    sha256 = hashlib.sha256()
    for image, _ in live.dataset.images(live._names(range(min(n_images, len(live))))):
        sha256.update(image.data)
    return sha256.hexdigest()
