"""A split with shuffled labels, for the trainer's `--data fdsl.ladders.shuffled:SPEC`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fdsl.dataset.live import LiveDataset
from shards.opening import open as open_live


class Shuffled:
    """The images of a split, each with the label of another one.

    The labels are permuted by the spec's seed, so every epoch has the same, and each label is as frequent as before.
    """

    def __init__(self, live: LiveDataset) -> None:
        spec = live.dataset.spec
        self.live, self.n_classes = live, spec.categories
        self.hash = f"shuffled-{live.hash}"
        ordered = np.repeat(np.arange(spec.categories, dtype=np.int32), spec.n_instances(live.split))
        self.labels: npt.NDArray[np.int32] = np.random.default_rng(spec.seed).permutation(ordered)

    def __len__(self) -> int:
        return len(self.live)

    def __getitem__(self, position: int) -> tuple[Any, int]:
        """Return an image and its shuffled label."""
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[tuple[Any, int]]:
        """Return several items."""
        items = self.live.__getitems__(positions)
        return [(item[0], int(self.labels[position])) for item, position in zip(items, positions, strict=True)]


def open(spec: str | Path, split: str = "train") -> Shuffled:
    """Open a split of a spec with shuffled labels; see `fdsl.open`."""
    return Shuffled(open_live(spec, split))
