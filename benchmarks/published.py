"""The published procedures, by family, and their times.

A procedure renders the images of our own shard: the same categories, weights, viewpoints and contours. Its other random
numbers are its own. Images go into a tar as PIL's default PNG. The authors write each PNG to disk and pack it later. Here it
goes straight into the tar, which is neither flushed nor hashed, so ratios are conservative.
"""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import published_fractals
from measures import clock
from ours import Ours, Row
from PIL import Image

N_VIEWS = 12
"""Views of a cloud in MV-FractalDB, which the authors' scripts make as they are shipped."""

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
    start_shared, shared_target : the same for N_VIEWS images of one cloud, as the authors' scripts make them by default;
        None if each image has a cloud of its own there, too
    """

    start: Callable[[Ours, int], Renderer]
    quantity: str
    target: float
    start_shared: Callable[[Ours, int], Renderer] | None = None
    shared_target: float = 0.0


def _start_fractals(ours: Ours, seed: int, n_views: int = 1) -> Renderer:
    """Return a renderer that draws a cloud for every `n_views` images.

    An image that is another's view has its viewpoint, and the other's category and weight.
    """
    spec, folder, rng = ours.directory.spec, ours.directory.path, np.random.default_rng(seed)
    for k, row in enumerate(ours.categories):
        lines = (",".join(map(repr, (*maps, p))) for maps, p in zip(row["maps"], row["probability"], strict=True))
        (folder / f"{k:06}.csv").write_text("\n".join(lines))

    views: Iterator[published_fractals.Cloud | None] = iter(())

    def render(row: Row) -> Image.Image | None:
        nonlocal views
        variant = ours.variant(row)
        if (cloud := next(views, None)) is None:
            parameters = folder / f"{row['category']:06}.csv"
            cloud = published_fractals.draw_cloud(parameters, folder / "cloud", variant, rng)
            views = repeat(cloud, n_views - 1)
        return cloud and published_fractals.plot(cloud, published_fractals.rotation(variant), spec.size_px)

    return render


def _start_contours(ours: Ours, seed: int) -> Renderer:
    rng, images = random.Random(seed), list[Image.Image]()

    def render(row: Row) -> Image.Image | None:
        exec(_CONTOURS, {"given": (ours.variant(row), ours.directory.spec.size_px, rng, images)})
        return images[-1]

    return render


PUBLISHED = {
    "exfractal": Published(
        _start_fractals, "share of white pixels", 150.0, partial(_start_fractals, n_views=N_VIEWS), 20.0
    ),
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
    """Return CPU seconds per image.

    Renders one image of each category into a tar.
    """
    return _clock(PUBLISHED[ours.directory.spec.family].start, ours, instance, path, ours.rows_of(instance))


def clock_shared(ours: Ours, instance: int, path: Path) -> float:
    """Return CPU seconds per image where images share clouds.

    Renders N_VIEWS images of each cloud.
    """
    start, rows = PUBLISHED[ours.directory.spec.family].start_shared, ours.rows_of(instance)
    assert start is not None
    return _clock(start, ours, instance, path, rows[: len(rows) // N_VIEWS * N_VIEWS])


def _clock(start: Callable[[Ours, int], Renderer], ours: Ours, seed: int, path: Path, rows: list[Row]) -> float:
    start(ours, seed)(rows[0])
    return clock(_bake, path, rows, start(ours, seed)) / len(rows)
