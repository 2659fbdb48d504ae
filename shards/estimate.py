"""What a bake will cost, from a few images made now."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from shards.bake import stream_of
from shards.categories import sample_categories
from shards.plan import plan_shards
from shards.png import encode, warm
from shards.spec import SPLITS, Spec
from shards.tar import BLOCK, member

_CATEGORIES, _IMAGES, _AT_LEAST, _ENOUGH_S = 96, 384, 24, 2.0


@dataclass(frozen=True)
class Estimate:
    """A bake's size, exactly, and its cost, about.

    images, shards : of each split, by its name.
    n_bytes : of all tars. core_seconds : of rendering and packing on one core of this machine, the search included.
    acceptance : the share of category candidates that are accepted.
    """

    images: dict[str, int]
    shards: dict[str, int]
    n_bytes: int
    core_seconds: float
    acceptance: float


def estimate(spec: Spec) -> Estimate:
    """Estimate a bake's bytes and time by sampling 96 categories and rendering up to 384 images."""
    few = dataclasses.replace(spec, categories=min(spec.categories, _CATEGORIES))
    sample_categories(dataclasses.replace(spec, categories=1))
    warm()
    start = time.perf_counter()
    sampled = sample_categories(few)
    seconds_per_category = (time.perf_counter() - start) / sampled.table.num_rows
    rows = spec.rules.unpack(spec.parameters, sampled.table)
    names = ((k % len(rows), k // len(rows) % spec.instances.train) for k in range(_IMAGES))
    samples = ((rows[c], stream_of(spec, c, i)) for c, i in names)
    n_bytes = k = 0
    start = time.perf_counter()
    for k, (image, _) in enumerate(spec.rules.render_each(spec.parameters, spec.size_px, samples), 1):
        n_bytes += len(member(b"", encode(image, spec.rules.BIT_DEPTH))) + 2 * BLOCK
        if k >= _AT_LEAST and time.perf_counter() - start >= _ENOUGH_S:
            break
    seconds_per_image = (time.perf_counter() - start) / k
    images = {split: spec.categories * spec.n_instances(split) for split in SPLITS}
    total = sum(images.values())
    return Estimate(
        images=images,
        shards={split: len(plan_shards(spec, split)) for split in SPLITS},
        n_bytes=n_bytes * total // k,
        core_seconds=seconds_per_image * total + seconds_per_category * spec.categories,
        acceptance=sampled.acceptance,
    )
