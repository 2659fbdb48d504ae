"""Estimates the cost of a bake from a few images."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.plan import plan_shards
from fdsl.dataset.spec import SPLITS, Spec
from shards import png
from shards.searching import SearchResult, search_categories
from shards.tar import BLOCK, member

_MAX_CATEGORIES, _MAX_IMAGES, _MIN_IMAGES, _MAX_RENDER_S = 96, 384, 24, 2.0


@dataclass(frozen=True)
class Estimate:
    """Size and cost of a bake.

    Attributes
    ----------
    n_images, n_shards : of each split, exact
    n_bytes : of all tars, approximate
    core_seconds : for search, rendering and packing on one core of this machine, approximate
    acceptance : share of category candidates that are accepted, 0..1, approximate
    """

    n_images: dict[str, int]
    n_shards: dict[str, int]
    n_bytes: int
    core_seconds: float
    acceptance: float


def estimate(spec: Spec) -> Estimate:
    """Estimate a bake from up to 96 categories and 384 images."""
    search_categories(spec.replace(categories=1))
    png.compile_kernels()
    start = time.perf_counter()
    search = search_categories(spec.replace(categories=min(spec.categories, _MAX_CATEGORIES)))
    seconds_per_category = (time.perf_counter() - start) / search.table.num_rows
    bytes_per_image, seconds_per_image = _render_some(spec, search)
    n_images = {split: spec.n_images(split) for split in SPLITS}
    n_total = sum(n_images.values())
    return Estimate(
        n_images=n_images,
        n_shards={split: len(plan_shards(spec, split)) for split in SPLITS},
        n_bytes=round(bytes_per_image * n_total),
        core_seconds=seconds_per_image * n_total + seconds_per_category * spec.categories,
        acceptance=search.acceptance,
    )


def _render_some(spec: Spec, search: SearchResult) -> tuple[float, float]:
    """Return the bytes and seconds that one image takes."""
    dataset = Dataset(spec.replace(categories=search.table.num_rows), search.table)
    n_categories = search.table.num_rows
    names = ((k % n_categories, k // n_categories % spec.instances.train) for k in range(_MAX_IMAGES))
    n_bytes = n_images = 0
    start = time.perf_counter()
    for image, _ in dataset.images(names):
        n_bytes += len(member(b"", png.encode(image, spec.family_module.BIT_DEPTH))) + 2 * BLOCK
        n_images += 1
        if n_images >= _MIN_IMAGES and time.perf_counter() - start >= _MAX_RENDER_S:
            break
    return n_bytes / n_images, (time.perf_counter() - start) / n_images
