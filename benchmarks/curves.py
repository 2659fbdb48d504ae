"""Plots speed against workers, image size and points, for docs/.

    .venv/bin/python benchmarks/curves.py           # about a minute; `make bench` runs this too

Measures rates in wall time, unlike the other benchmarks, because workers exist to save it. Each number of workers bakes with
warm workers, in turns, over several rounds. Medians are shown.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import machine
from outputs import RESULTS, ROOT, tar_folder
from plots import POINTS, SIZES_PX, plot_images, plot_workers

from fdsl import Dataset, LocalExecutor, Spec, bake, parse_spec, search_categories
from fdsl.dataset.families import FAMILIES
from shards import png
from shards.executors.processors import n_processors

DOCS = ROOT / "docs"
_ROUNDS = 5
_N_CATEGORIES = 24
_SHARD_S = 0.25
"""Approximate time of a worker per shard: short enough that all workers end together."""


def _spec(family: str, categories: int, train: int, others: dict[str, Any]) -> Spec:
    mapping = {"name": "curve", "family": family, "categories": categories, "instances": {"train": train}}
    return parse_spec({**mapping, **others})


def image_us(spec: Spec) -> float:
    """Return the CPU us to render and encode one image.

    The mean over categories, and the median over rounds.
    """
    dataset, bit_depth = Dataset(spec, search_categories(spec).table), spec.family_module.BIT_DEPTH
    png.compile_kernels()
    round_us = []
    for k in range(-1, _ROUNDS):
        start = time.process_time()
        for image, _ in dataset.images((category, max(k, 0)) for category in range(spec.categories)):
            png.encode(image, bit_depth)
        round_us.append(1e6 * (time.process_time() - start) / spec.categories)
    return median(round_us[1:])


def images_per_s(family: str, default_us: float, workers: list[int]) -> dict[int, float]:
    """Return images per second of whole bakes, by number of warm workers.

    Parameters
    ----------
    default_us : time of an image at the published size
    """
    n_samples = int(1e6 * _SHARD_S / default_us)
    rates: dict[int, list[float]] = {n: [] for n in workers}
    for _ in range(_ROUNDS):
        for n in workers:
            executor = LocalExecutor(n)
            shards = {"shards": {"samples": n_samples}}
            spec = _spec(family, _N_CATEGORIES, 8 * n * n_samples // _N_CATEGORIES, shards)
            warm = _spec(family, _N_CATEGORIES, n, {"shards": {"samples": 1}})
            with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as folder:
                bake(warm, Path(folder, "warm"), executor=executor)
                categories = search_categories(spec).table
                start = time.perf_counter()
                done = bake(spec, Path(folder, "curve"), categories=categories, executor=executor)
                rates[n].append(done.n_images / (time.perf_counter() - start))
    return {n: median(of_rounds) for n, of_rounds in rates.items()}


def main() -> None:
    """Measure, print, and write numbers and plots."""
    workers = sorted({n for k in range(11) if (n := 2**k) <= n_processors()} | {n_processors()})
    sizes = {
        family: {size: image_us(_spec(family, _N_CATEGORIES, _ROUNDS, {"image": {"size": size}})) for size in SIZES_PX}
        for family in FAMILIES
    }
    points = {n: image_us(_spec("exfractal", _N_CATEGORIES, _ROUNDS, {"params": {"points": n}})) for n in POINTS}
    default_us = {family: image_us(_spec(family, _N_CATEGORIES, _ROUNDS, {})) for family in FAMILIES}
    rates = {family: images_per_s(family, default_us[family], workers) for family in FAMILIES}
    for family, by_workers in rates.items():
        columns = ", ".join(f"{n}: {rate:,.0f} ({rate / by_workers[1]:.2f}x)" for n, rate in by_workers.items())
        print(f"{FAMILIES[family].TITLE}, images/s by workers: {columns}")
        print("  us per image by size: " + ", ".join(f"{size} px {us:,.0f}" for size, us in sizes[family].items()))
    print("ExFractalDB, us per image by points: " + ", ".join(f"{n:,} {us:,.0f}" for n, us in points.items()))
    plot_workers(rates, DOCS / "workers.png")
    plot_images(sizes, points, DOCS / "images.png")
    content = {"machine": machine.describe(), "images_per_s": rates, "image_us": sizes, "points_us": points}
    RESULTS.joinpath("curves.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {RESULTS / 'curves.json'}, {DOCS / 'workers.png'} and {DOCS / 'images.png'}")


if __name__ == "__main__":
    main()
