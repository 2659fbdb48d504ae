"""The plots of docs/fidelity.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.fidelity.distributions import Accepted, Sample
from tests.fidelity.ours import Image

PICTURES, FRACTALS, CONTOURS = FILES = "fidelity.png", "fidelity-exfractal.png", "fidelity-rcdb.png"

_DPI = 110
_N_VIEWPOINTS = 2000
_OURS, _PUBLISHED = "tab:blue", "black"


def plot_pictures(rows: dict[str, Sequence[Image]], path: Path) -> None:
    """Show pictures in rows.

    Parameters
    ----------
    rows : pictures of equal size, by the row's name
    """
    n_columns = max(map(len, rows.values()))
    figure = Figure(figsize=(9, 9 / n_columns * len(rows) + 0.1), layout="constrained")
    axes = figure.subplots(len(rows), n_columns, squeeze=False)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name)
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=_DPI)


def _plot_sample(axis: Axes, sample: Sample, drawn: str = "") -> None:
    """Plot ours as bars and the law as a line.

    Parameters
    ----------
    drawn : what the values belong to, for the legend
    """
    law, widths = sample.law, np.diff(sample.law.edges)
    ours = 100.0 * sample.counts / len(sample.values) / widths
    axis.bar(law.edges[:-1], ours, widths, align="edge", color=_OURS, alpha=0.5, label=f"{drawn}ours")
    density = 100.0 * law.weights / law.weights.sum() / widths
    axis.stairs(density, law.edges, baseline=None, color=_PUBLISHED, label=f"{drawn}as published")
    axis.set(xlabel=sample.quantity, xlim=(law.edges[0], law.edges[-1]))
    axis.set_ylim(0, 1.3 * density.max())


def plot_contours(samples: Sequence[Sample], path: Path) -> None:
    """Plot quantities of RCDB side by side."""
    figure = Figure(figsize=(9, 3.0), layout="constrained")
    axes = figure.subplots(1, len(samples))
    for axis, sample in zip(axes, samples, strict=True):
        _plot_sample(axis, sample)
    axes[0].set_ylabel("categories, % per unit")
    axes[0].legend(frameon=False)
    axes[-1].xaxis.set_major_formatter("{x:,.0f}")
    axes[-1].set_xticks([0, 10_000, 20_000, 30_000])
    figure.savefig(path, dpi=_DPI)


def plot_fractals(
    maps: Sample,
    categories: dict[str, Accepted],
    fill_rates: Sequence[tuple[float, float]],
    directions: tuple[Sample, Sample],
    path: Path,
) -> None:
    """Plot maps, fill rates and viewpoints of ExFractalDB side by side.

    Parameters
    ----------
    maps : of our candidates
    categories : ours, transcription
    fill_rates : (ours, transcription) of each image, %
    directions : azimuth and height of our viewpoints
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _plot_sample(left, maps, "candidates, ")
    for (name, accepted), shift, marker in zip(categories.items(), (-0.12, 0.12), "os", strict=True):
        counts, n = np.bincount(accepted.n_maps, minlength=8)[2:], len(accepted.n_maps)
        shares = counts / n
        errors = np.sqrt(shares * (1 - shares) / n)
        left.errorbar(
            np.arange(2, 8) + shift, 100 * shares, 100 * errors, fmt=marker, markersize=4, label=f"categories, {name}"
        )
    left.set(
        xlabel="maps of a system", ylabel="systems, %", xticks=range(2, 8), yticks=range(0, 101, 20), ylim=(0, 150)
    )
    left.legend(frameon=False, fontsize="small")
    bins = np.linspace(0.0, np.ceil(max(map(max, fill_rates))), 25)
    for rates, name, style in zip(zip(*fill_rates, strict=True), ("ours", "transcription"), ("-", "--"), strict=True):
        middle.stairs(100 * np.histogram(rates, bins)[0] / len(rates), bins, linestyle=style, label=name)
    middle.set(xlabel="fill rate of an image, %", ylabel="images, %", xlim=(0, None), ylim=(0, None))
    middle.legend(frameon=False)
    azimuth, height = (sample.values[:_N_VIEWPOINTS] for sample in directions)
    right.plot(azimuth, height, ".", markersize=1.5)
    right.set(
        xlabel="azimuth of the viewpoint, degrees", ylabel="height on the unit sphere", xlim=(-180, 180), ylim=(-1, 1)
    )
    right.set_xticks([-180, -90, 0, 90, 180])
    figure.savefig(path, dpi=_DPI)
