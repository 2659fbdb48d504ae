"""How the speed grows with workers, and the time of an image with its size and its points: two plots for docs/.

    .venv/bin/python benchmarks/curves.py           # about a minute; `make bench` runs this too

Wall time, unlike the rest: it is what workers are for. Each number of workers bakes with warm workers, in turns, over several
rounds; medians are shown.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import machine
from matplotlib.figure import Figure
from outputs import RESULTS, tar_folder

from shards import Spec, bake, sample_categories
from shards.bake import stream_of
from shards.png import encode
from shards.spec import parse_spec

FAMILIES = {"exfractal": "ExFractalDB", "rcdb": "RCDB"}
SIZES_PX = (64, 128, 224, 384, 512, 768, 1024)
POINTS = (1_000, 3_000, 10_000, 30_000, 100_000)
DOCS = Path(__file__).parent.parent / "docs"

_ROUNDS = 5
_CATEGORIES = 24
_SHARD_S = 0.25
"""About how long a worker is at one shard: short enough that the last ones end together."""
_TICKS_US = (20, 50, 100, 200, 500, 1_000, 2_000, 5_000)


def _spec(family: str, categories: int, train: int, others: dict[str, Any]) -> Spec:
    mapping = {"name": "curve", "family": family, "categories": categories, "instances": {"train": train}}
    return parse_spec({**mapping, **others})


def image_us(spec: Spec) -> float:
    """Return the microseconds of rendering and encoding one image, averaged over categories: the median of the rounds."""
    rows = spec.rules.unpack(spec.parameters, sample_categories(spec, 1).table)
    taken = []
    for instance in range(-1, _ROUNDS):
        start = time.process_time()
        samples = ((row, stream_of(spec, category, max(instance, 0))) for category, row in enumerate(rows))
        for image, _ in spec.rules.render_each(spec.parameters, spec.size_px, samples):
            encode(image, spec.rules.BIT_DEPTH)
        taken.append(1e6 * (time.process_time() - start) / len(rows))
    return median(taken[1:])


def images_per_s(family: str, each_us: float, workers: list[int]) -> dict[int, float]:
    """Return images a second of whole bakes by so many workers, all of them warm."""
    samples = int(1e6 * _SHARD_S / each_us)
    taken: dict[int, list[float]] = {n: [] for n in workers}
    for _ in range(_ROUNDS):
        for n in workers:
            spec = _spec(family, _CATEGORIES, 8 * n * samples // _CATEGORIES, {"shards": {"samples": samples}})
            warm = _spec(family, _CATEGORIES, n, {"shards": {"samples": 1}})
            with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as folder:
                bake(warm, Path(folder, "warm"), workers=n)
                table = sample_categories(spec, 1).table
                start = time.perf_counter()
                done = bake(spec, Path(folder, "curve"), table=table, workers=n)
                taken[n].append(done.images / (time.perf_counter() - start))
    return {n: median(rates) for n, rates in taken.items()}


def plot_workers(rates: dict[str, dict[int, float]], path: Path) -> None:
    """Draw images a second against workers, with the straight line that one worker promises."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axis, (family, found) in zip(figure.subplots(1, len(rates)), rates.items(), strict=True):
        axis.plot(list(found), list(found.values()), "o-", label="measured")
        axis.plot(list(found), [found[1] * n for n in found], "k:", label="one worker's, times workers")
        axis.set(title=FAMILIES[family], xlabel="workers", ylabel="images/s", xticks=list(found))
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def plot_images(sizes: dict[str, dict[int, float]], points: dict[int, float], path: Path) -> None:
    """Draw the time of an image against its size, and of ExFractalDB's against its points."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for family, found in sizes.items():
        left.loglog(list(found), list(found.values()), "o-", label=FAMILIES[family])
    left.set(xlabel="image size, px", ylabel="µs per image, rendered and encoded")
    left.set_xticks(SIZES_PX, [str(size) for size in SIZES_PX])
    left.legend(frameon=False)
    right.loglog(list(points), list(points.values()), "o-")
    right.set(xlabel="points (ExFractalDB, 224 px)", ylabel="µs per image")
    right.set_xticks(POINTS, [f"{n:,}" for n in POINTS])
    for axis in (left, right):
        low, high = axis.get_ylim()
        shown = [us for us in _TICKS_US if low <= us <= high]
        axis.set_yticks(shown, [f"{us:,}" for us in shown])
        axis.minorticks_off()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, write the numbers and the plots."""
    workers = sorted({n for k in range(11) if (n := 2**k) <= joblib.cpu_count()} | {joblib.cpu_count()})
    sizes = {
        family: {size: image_us(_spec(family, _CATEGORIES, _ROUNDS, {"image": {"size": size}})) for size in SIZES_PX}
        for family in FAMILIES
    }
    points = {n: image_us(_spec("exfractal", _CATEGORIES, _ROUNDS, {"params": {"points": n}})) for n in POINTS}
    default_us = {"exfractal": sizes["exfractal"][224], "rcdb": sizes["rcdb"][512]}
    rates = {family: images_per_s(family, default_us[family], workers) for family in FAMILIES}
    for family, found in rates.items():
        each = ", ".join(f"{n}: {rate:,.0f} ({rate / found[1]:.2f}x)" for n, rate in found.items())
        print(f"{FAMILIES[family]}, images/s by workers: {each}")
        print("  us per image by size: " + ", ".join(f"{size} px {us:,.0f}" for size, us in sizes[family].items()))
    print("ExFractalDB, us per image by points: " + ", ".join(f"{n:,} {us:,.0f}" for n, us in points.items()))
    plot_workers(rates, DOCS / "workers.png")
    plot_images(sizes, points, DOCS / "images.png")
    content = {"machine": machine.describe(), "images_per_s": rates, "image_us": sizes, "points_us": points}
    RESULTS.joinpath("curves.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {RESULTS / 'curves.json'}, {DOCS / 'workers.png'} and {DOCS / 'images.png'}")


if __name__ == "__main__":
    main()
