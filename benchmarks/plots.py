"""The plots of `curves.py`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from fdsl.dataset.families import FAMILIES

SIZES_PX = (64, 128, 224, 384, 512, 768, 1024)
POINTS = (1_000, 3_000, 10_000, 30_000, 100_000)

_TICKS_US = (20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
_DPI = 110


def plot_workers(rates: dict[str, dict[int, float]], path: Path) -> None:
    """Plot images per second against workers, beside linear scaling.

    Parameters
    ----------
    rates : images per second, by family and number of workers
    """
    figure = Figure(figsize=(4.5 * len(rates), 3.2), layout="constrained")
    for axis, (family, by_workers) in zip(figure.subplots(1, len(rates)), rates.items(), strict=True):
        axis.plot(list(by_workers), list(by_workers.values()), "o-", label="measured")
        axis.plot(list(by_workers), [by_workers[1] * n for n in by_workers], "k:", label="linear scaling")
        axis.set(title=FAMILIES[family].TITLE, xlabel="workers", ylabel="images/s", xticks=list(by_workers))
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=_DPI)


def plot_images(sizes: dict[str, dict[int, float]], points: dict[int, float], path: Path) -> None:
    """Plot us per image against size, and against ExFractalDB's points.

    Parameters
    ----------
    sizes : us per image, by family and size in px
    points : us per image, by number of points
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for family, by_size in sizes.items():
        left.loglog(list(by_size), list(by_size.values()), "o-", label=FAMILIES[family].TITLE)
    left.set(xlabel="image size, px", ylabel="µs per image, rendered and encoded")
    left.set_xticks(SIZES_PX, [str(size) for size in SIZES_PX])
    left.legend(frameon=False)
    right.loglog(list(points), list(points.values()), "o-")
    right.set(xlabel="points (ExFractalDB, 224 px)", ylabel="µs per image")
    right.set_xticks(POINTS, [f"{n:,}" for n in POINTS])
    for axis in (left, right):
        low, high = axis.get_ylim()
        ticks_us = [us for us in _TICKS_US if low <= us <= high]
        axis.set_yticks(ticks_us, [f"{us:,}" for us in ticks_us])
        axis.minorticks_off()
    figure.savefig(path, dpi=_DPI)
