"""The published procedures, by family, and their times.

A procedure renders the images of our own shard: the same categories, weights, viewpoints and contours. Its other random
numbers are its own. Images go into a tar as PIL's default PNG. The authors write each PNG to disk and pack it later. Here it
goes straight into the tar, which is neither flushed nor hashed, so ratios are conservative.
"""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import published_fractals
from measures import clock
from ours import Ours, Row
from PIL import Image

Renderer = Callable[[Row], Image.Image | None]
"""Renders the image of a row of the samples table; None if its system diverges."""

_CONTOURS = compile(Path(__file__).with_name("published_contours.py").read_text(), "published_contours.py", "exec")


@dataclass(frozen=True)
class Published:
    """The published procedure of a family.

    Attributes
    ----------
    start : returns a renderer of a shard's images, from a seed
    quantity : name of the mean brightness, by which both sides are compared
    target : least ratio to our whole shard that passes. It is set below the measured ratio, to allow for a busy machine.
    """

    start: Callable[[Ours, int], Renderer]
    quantity: str
    target: float


def _start_fractals(ours: Ours, seed: int) -> Renderer:
    spec, folder, rng = ours.directory.spec, ours.directory.path, np.random.default_rng(seed)
    for k, row in enumerate(ours.categories):
        lines = (",".join(map(repr, (*maps, p))) for maps, p in zip(row["maps"], row["probability"], strict=True))
        (folder / f"{k:06}.csv").write_text("\n".join(lines))

    def render(row: Row) -> Image.Image | None:
        parameters = folder / f"{row['category']:06}.csv"
        return published_fractals.draw_image(parameters, folder / "cloud", ours.variant(row), spec.size_px, rng)

    return render


def _start_contours(ours: Ours, seed: int) -> Renderer:
    rng, images = random.Random(seed), list[Image.Image]()

    def render(row: Row) -> Image.Image | None:
        exec(_CONTOURS, {"given": (ours.variant(row), ours.directory.spec.size_px, rng, images)})
        return images[-1]

    return render


PUBLISHED = {
    "exfractal": Published(_start_fractals, "share of white pixels", 150.0),
    "rcdb": Published(_start_contours, "mean grey (1 is white)", 40.0),
}
"""A family without an entry is measured alone."""


def _add(tar: tarfile.TarFile, key: str, image: Image.Image, category: int) -> None:
    """Add an image and its label to a tar."""
    file = io.BytesIO()
    image.save(file, format="png")
    for ending, payload in (("png", file.getvalue()), ("cls", str(category).encode())):
        member = tarfile.TarInfo(f"{key}.{ending}")
        member.size = len(payload)
        tar.addfile(member, io.BytesIO(payload))


def _bake(path: Path, rows: Sequence[Row], render: Renderer) -> None:
    """Write a tar of images. Those that diverge are skipped, as published."""
    with tarfile.open(path, "w") as tar:
        for row in rows:
            image = render(row)
            if image is not None:
                _add(tar, row["key"], image, row["category"])


def clock_published(ours: Ours, instance: int, path: Path) -> float:
    """Render one image of each category into a tar; return CPU seconds."""
    rows = ours.rows_of(instance)
    render = PUBLISHED[ours.directory.spec.family].start(ours, instance)
    render(rows[0])
    return clock(_bake, path, rows, render)
