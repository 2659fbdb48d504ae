"""The two sides of a family's contest: the same images through `bake_shard` and through the published procedure."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import published
import pyarrow.parquet as pq
from measures import clock
from PIL import Image

from shards.bake import bake_shard, prepare
from shards.directory import Directory, read_categories
from shards.plan import Shard, plan_shards
from shards.spec import parse_spec

Row = dict[str, Any]
Maker = Callable[[Row], Image.Image | None]
"""Makes the image of a samples table's row; None if its system diverges."""


@dataclass(frozen=True)
class Ours:
    """A shard that is baked again and again.

    rows : of its samples table: key, category, instance and what was drawn for the image.
    categories : of its categories table.
    """

    directory: Directory
    shard: Shard
    rows: list[Row]
    categories: list[Row]

    @property
    def tar(self) -> Path:
        """Where its tar stands."""
        return self.directory.tar(self.shard)

    def bake(self) -> None:
        """Make the whole shard: its tar, its samples table, its receipt."""
        bake_shard(self.directory, self.shard)

    def instance(self, number: int) -> list[Row]:
        """Return the rows of one image of each category."""
        return [row for row in self.rows if row["instance"] == number]


def prepare_ours(family: str, n_categories: int, n_instances: int, folder: Path) -> Ours:
    """Return one shard with all images of a family, of the published size, baked once: the kernels are warm."""
    spec = parse_spec(
        {
            "name": f"bench-{family}",
            "family": family,
            "categories": n_categories,
            "instances": {"train": n_instances},
            "shards": {"samples": n_categories * n_instances},
        }
    )
    directory = prepare(spec, folder / family, None, 1, False)
    (shard,) = plan_shards(spec)
    bake_shard(directory, shard)
    rows = pq.read_table(directory.samples(shard)).to_pylist()
    return Ours(directory, shard, rows, read_categories(directory).to_pylist())


def _fractal_maker(ours: Ours, seed: int) -> Maker:
    size_px, drawn = ours.directory.spec.size_px, ours.directory.spec.rules.Drawn
    folder, rng = ours.directory.path, np.random.default_rng(seed)
    for k, row in enumerate(ours.categories):
        lines = (",".join(map(repr, (*maps, p))) for maps, p in zip(row["maps"], row["probability"], strict=True))
        (folder / f"{k:06}.csv").write_text("\n".join(lines))

    def make(row: Row) -> Image.Image | None:
        fractal = drawn(*(row[name] for name in drawn._fields))
        parameters = folder / f"{row['category']:06}.csv"
        return published.fractal_image(parameters, folder / "cloud", fractal, size_px, rng)

    return make


def _contours_maker(ours: Ours, seed: int) -> Maker:
    size_px, drawn = ours.directory.spec.size_px, ours.directory.spec.rules.Drawn
    rng, images = random.Random(seed), list[Image.Image]()

    def make(row: Row) -> Image.Image | None:
        return published.contours_image(drawn(*(row[name] for name in drawn._fields)), size_px, rng, images)

    return make


def _bake_published(path: Path, rows: Sequence[Row], make: Maker) -> None:
    """Make a tar of the rows' images by the published procedure, which skips those that diverge."""
    with tarfile.open(path, "w") as tar:
        for row in rows:
            image = make(row)
            if image is not None:
                published.add(tar, row["key"], image, row["category"])


def clock_published(ours: Ours, number: int, path: Path) -> float:
    """Make a tar of one image of each of our categories by the published procedure; return the seconds of CPU time.

    What was drawn for each image is ours; the random numbers are others.
    """
    rows = ours.instance(number)
    make = {"exfractal": _fractal_maker, "rcdb": _contours_maker}[ours.directory.spec.family](ours, number)
    make(rows[0])
    return clock(_bake_published, path, rows, make)
