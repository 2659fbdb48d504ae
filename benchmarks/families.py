"""A family's images: our whole shard, stage by stage, against the published procedure and against the yardsticks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import limits
import numpy as np
import published
import stages
from measures import Agreement, Ratio, clock, ratio_of
from pictures import compare, pictures, sizes
from sides import Ours, clock_published, prepare_ours

N_CATEGORIES = 80
N_ROUNDS = 7
"""Also the images of each category: we make them all in each round, the published procedure one of each category."""

_QUANTITY = {"exfractal": "share of white pixels", "rcdb": "mean grey (1 is white)"}
_DEFLATE_REPEATS = 3


@dataclass(frozen=True)
class FamilyResult:
    """What was measured of one family. Times are CPU time in us per image, medians of the rounds; sizes bytes per image.

    stages_us : of our shard; the last one is what is left of the whole. disk_bytes : of our tar and samples table.
    shard_us : our whole shard. published_us : the published procedure.
    t1_us : the plainest chaos game of 10,000 points; None for a family without points. e_us : deflating the rows.
    """

    family: str
    size_px: int
    categories: int
    rounds: int
    stages_us: dict[str, float]
    shard_us: float
    published_us: float
    ratio: Ratio
    t1_us: float | None
    e_us: float
    bytes: dict[str, float]
    disk_bytes: float
    agreement: Agreement


@dataclass
class _Rounds:
    """Seconds per image of each round."""

    ours: list[float]
    published: list[float]
    yardsticks: list[dict[str, float]]
    stages: list[dict[str, float]]


def _medians_us(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: 1e6 * median(seconds[name] for seconds in rounds) for name in rounds[0]}


def _stages_s(ours: Ours) -> dict[str, float]:
    """Return the seconds per image of each stage of our shard."""
    with stages.clocks(ours.directory.spec.family) as watch:
        ours.bake()
    seconds = {**watch.seconds, stages.PARQUET: stages.write_samples(ours.directory, ours.shard)}
    return {stage: spent / ours.shard.samples for stage, spent in seconds.items()}


def _yardsticks(ours: Ours, rows: list[bytes]) -> Callable[[], dict[str, float]]:
    """Return a function that measures the yardsticks, in seconds per image."""
    systems = []
    for category in ours.categories if "maps" in ours.categories[0] else ():
        systems.append((np.array(category["maps"]), np.cumsum(category["probability"])[:-1]))
    for maps, cumulative in systems[:1]:
        limits.chaos_game(maps, cumulative, published.N_POINTS)

    def deflate() -> None:
        for row in rows:
            for _ in range(_DEFLATE_REPEATS):
                limits.deflate(row)

    def play() -> None:
        for maps, cumulative in systems:
            limits.chaos_game(maps, cumulative, published.N_POINTS)

    def measure() -> dict[str, float]:
        seconds = {"e": clock(deflate) / (len(rows) * _DEFLATE_REPEATS)}
        return {**seconds, "t1": clock(play) / len(systems)} if systems else seconds

    return measure


def _run(ours: Ours, tars: list[Path], rows: list[bytes]) -> _Rounds:
    """Measure both sides in turns, the published one into `tars`, one a round.

    It has a process of its own: beside what ours has left in memory, zlib can take a third longer.
    """
    yardsticks = _yardsticks(ours, rows)
    rounds = _Rounds([], [], [], [])
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        for number, tar in enumerate(tars):
            rounds.ours.append(clock(ours.bake) / ours.shard.samples)
            published_s = process.submit(clock_published, ours, number, tar).result()
            rounds.published.append(published_s / len(ours.instance(number)))
            rounds.yardsticks.append(yardsticks())
            rounds.stages.append(_stages_s(ours))
    return rounds


def measure_family(family: str, target: float, folder: Path) -> FamilyResult:
    """Measure a family; both sides write their tars into `folder`, and `target` is the ratio that must be reached."""
    ours = prepare_ours(family, N_CATEGORIES, N_ROUNDS, folder)
    spec = ours.directory.spec
    first = {row["key"] for row in ours.instance(0)}
    images = [picture for picture in pictures(ours.tar) if picture.key in first]
    tars = [folder / f"published-{family}-{number}.tar" for number in range(N_ROUNDS)]
    rounds = _run(ours, tars, [limits.rows_of(image.pixels, spec.rules.BIT_DEPTH) for image in images])
    stages_us, yardsticks_us = _medians_us(rounds.stages), _medians_us(rounds.yardsticks)
    shard_us = 1e6 * median(rounds.ours)
    return FamilyResult(
        family=family,
        size_px=spec.size_px,
        categories=N_CATEGORIES,
        rounds=N_ROUNDS,
        stages_us={**stages_us, stages.REST: shard_us - sum(stages_us.values())},
        shard_us=shard_us,
        published_us=1e6 * median(rounds.published),
        ratio=ratio_of(rounds.published, rounds.ours, target),
        t1_us=yardsticks_us.get("t1"),
        e_us=yardsticks_us["e"],
        bytes=sizes(images),
        disk_bytes=sum(path.stat().st_size for path in (ours.tar, ours.directory.samples(ours.shard)))
        / ours.shard.samples,
        agreement=compare(_QUANTITY[family], ours.tar, tars),
    )
