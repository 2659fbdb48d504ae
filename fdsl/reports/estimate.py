"""Estimates the cost of a bake from a few images."""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import dataclass

import pyarrow as pa

from fdsl.dataset.dataset import Dataset, require_spec
from fdsl.dataset.plan import plan_shards
from fdsl.dataset.spec import SPLITS, Spec
from shards import png
from shards.executors.slurm import MAX_PARTS
from shards.layout import CARD, CATEGORIES, INDEX, INFO, LOCK, SPEC
from shards.searching import search_categories
from shards.tar import BLOCK, member

_MAX_CATEGORIES, _MAX_IMAGES, _MIN_IMAGES, _MAX_RENDER_S = 96, 384, 24, 2.0
_PART_S = 600
"""Time that a part of a job array should take."""

_FILES_PER_SHARD = 3
_FILES_PER_DATASET = len((SPEC, CATEGORIES, INDEX, CARD, INFO, LOCK))
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in a unit of `ru_maxrss`."""


@dataclass(frozen=True)
class Estimate:
    """Size and cost of a bake.

    Attributes
    ----------
    n_images, n_shards : of each split, exact
    n_files : of the whole directory, exact
    n_bytes : of all tars, approximate
    core_seconds : CPU time for search, rendering and packing on a core of this machine, approximate
    worker_bytes : memory of a worker, approximate: the peak of this process so far, which does the same work
    acceptance : share of category candidates that are accepted, 0..1, approximate; 1 if the categories are given
    """

    n_images: dict[str, int]
    n_shards: dict[str, int]
    n_files: int
    n_bytes: int
    core_seconds: float
    worker_bytes: int
    acceptance: float


def estimate(spec: Spec, categories: pa.Table | None = None) -> Estimate:
    """Estimate a bake from up to 96 categories and 384 images.

    Times are CPU times, so other programs on the machine hardly change them.

    Parameters
    ----------
    categories : categories table; by default the result of a search

    Raises
    ------
    InputError
        The categories do not fit the spec.
    """
    require_spec(spec)
    few = spec.replace(categories=min(spec.categories, _MAX_CATEGORIES))
    spec.family_module.compile_kernels()
    png.compile_kernels()
    search_s, acceptance = 0.0, 1.0
    if categories is None:
        start = time.process_time()
        search = search_categories(few)
        search_s = (time.process_time() - start) / few.categories * spec.categories
        categories, acceptance = search.table, search.acceptance
    bytes_per_image, seconds_per_image = _render_some(Dataset(few, categories))
    n_images = {split: spec.n_images(split) for split in SPLITS}
    n_shards = {split: len(plan_shards(spec, split)) for split in SPLITS}
    n_total = sum(n_images.values())
    return Estimate(
        n_images=n_images,
        n_shards=n_shards,
        n_files=_FILES_PER_SHARD * sum(n_shards.values()) + _FILES_PER_DATASET,
        n_bytes=round(bytes_per_image * n_total),
        core_seconds=seconds_per_image * n_total + search_s,
        worker_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT,
        acceptance=acceptance,
    )


def choose_parts(cost: Estimate, n_workers: int) -> int:
    """Return the number of parts of a bake for a job array.

    A part takes about ten minutes, unless there are too few shards or too many parts for an array.

    Parameters
    ----------
    n_workers : number of processes that bake a part
    """
    n_parts = math.ceil(cost.core_seconds / n_workers / _PART_S)
    return max(1, min(n_parts, sum(cost.n_shards.values()), MAX_PARTS))


def _render_some(dataset: Dataset) -> tuple[float, float]:
    """Return the bytes and the CPU seconds of one image."""
    spec = dataset.spec
    names = ((k % spec.categories, k // spec.categories % spec.instances.train) for k in range(_MAX_IMAGES))
    n_bytes = n_images = 0
    start = time.process_time()
    for image, _ in dataset.images(names):
        n_bytes += len(member(b"", png.encode(image, spec.family_module.BIT_DEPTH))) + 2 * BLOCK
        n_images += 1
        if n_images >= _MIN_IMAGES and time.process_time() - start >= _MAX_RENDER_S:
            break
    return n_bytes / n_images, (time.process_time() - start) / n_images
