"""Measures a family: our shard, the published procedure, the yardsticks."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import stages
import yardsticks
from measures import Agreement, Ratio, clock, ratio_of
from ours import Ours, prepare_ours
from pictures import Picture, compare, encoded_bytes, read_pictures
from published import PUBLISHED, clock_published, clock_shared

N_CATEGORIES = 80
N_ROUNDS = 7
"""Also the images per category: a round bakes all of ours, and one per category by the published procedure."""


@dataclass(frozen=True)
class FamilyResult:
    """Measurements of one family.

    Times are CPU time in us per image, medians of the rounds. Sizes are bytes per image.

    Attributes
    ----------
    stages_us : stages of our shard; the last one is the rest
    shard_us : our whole shard
    published_us, ratio, agreement : the published procedure; None if the family has none
    shared_us, shared_ratio : the same with several views of each cloud; None if the family has no such
    t1_us : the plainest chaos game of 10,000 points; None for a family without affine maps
    e_us : deflating the rows
    bytes : PNG files, by encoder
    disk_bytes : our tar and samples table
    """

    family: str
    size_px: int
    categories: int
    rounds: int
    stages_us: dict[str, float]
    shard_us: float
    published_us: float | None
    ratio: Ratio | None
    shared_us: float | None
    shared_ratio: Ratio | None
    t1_us: float | None
    e_us: float
    bytes: dict[str, float]
    disk_bytes: float
    agreement: Agreement | None


@dataclass
class _Rounds:
    """Seconds per image of each round."""

    ours: list[float] = field(default_factory=list)
    published: list[float] = field(default_factory=list)
    shared: list[float] = field(default_factory=list)
    yardsticks: list[dict[str, float]] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)


def _medians_us(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: 1e6 * median(seconds[name] for seconds in rounds) for name in rounds[0]}


def _run(ours: Ours, tars: list[Path], images: list[Picture]) -> _Rounds:
    """Measure both sides in turns.

    The published procedure runs in its own process, because zlib can take a third longer in one that has run our code.

    Parameters
    ----------
    tars : files for the published images, one per round; None are written if the family has no published procedure
    """
    bit_depth = ours.directory.spec.family_module.BIT_DEPTH
    measure_yardsticks = yardsticks.prepare(
        [yardsticks.png_rows(image.pixels, bit_depth) for image in images], ours.categories
    )
    rounds = _Rounds()
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        for k in range(N_ROUNDS):
            rounds.ours.append(clock(ours.bake) / ours.shard.n_samples)
            if tars:
                rounds.published.append(process.submit(clock_published, ours, k, tars[k]).result())
                if PUBLISHED[ours.directory.spec.family].start_shared:
                    path = tars[k].with_suffix(".shared.tar")
                    rounds.shared.append(process.submit(clock_shared, ours, k, path).result())
            rounds.yardsticks.append(measure_yardsticks())
            rounds.stages.append(stages.stage_seconds(ours))
    return rounds


def measure_family(family: str, folder: Path) -> FamilyResult:
    """Measure a family; both sides write their tars into `folder`."""
    ours, published = prepare_ours(family, N_CATEGORIES, N_ROUNDS, folder), PUBLISHED.get(family)
    first_keys = {row["key"] for row in ours.rows_of(0)}
    images = [picture for picture in read_pictures(ours.tar) if picture.key in first_keys]
    tars = [folder / f"published-{family}-{k}.tar" for k in range(N_ROUNDS)] if published else []
    rounds = _run(ours, tars, images)
    stages_us, yardsticks_us = _medians_us(rounds.stages), _medians_us(rounds.yardsticks)
    shard_us = 1e6 * median(rounds.ours)
    n_bytes = sum(path.stat().st_size for path in (ours.tar, ours.samples))
    return FamilyResult(
        family=family,
        size_px=ours.directory.spec.size_px,
        categories=N_CATEGORIES,
        rounds=N_ROUNDS,
        stages_us={**stages_us, stages.REST: shard_us - sum(stages_us.values())},
        shard_us=shard_us,
        published_us=1e6 * median(rounds.published) if published else None,
        ratio=ratio_of(rounds.published, rounds.ours, published.target) if published else None,
        shared_us=1e6 * median(rounds.shared) if rounds.shared else None,
        shared_ratio=ratio_of(rounds.shared, rounds.ours, published.shared_target) if rounds.shared else None,
        t1_us=yardsticks_us.get("t1"),
        e_us=yardsticks_us["e"],
        bytes=encoded_bytes(images),
        disk_bytes=n_bytes / ours.shard.n_samples,
        agreement=compare(published.quantity, ours.tar, tars) if published else None,
    )
