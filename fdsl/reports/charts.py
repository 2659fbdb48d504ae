"""Charts as SVG that takes its colours from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from fdsl.reports.histogram import Histogram, format_number

Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64]

_COLOURS = {"#000001": "var(--text)", "#000002": "var(--accent)", "#000003": "var(--line)"}
"""Colours in the file, and the variables of the page that replace them."""

_TEXT, _BAR, _LINE = _COLOURS
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": _TEXT,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _LINE,
    "grid.linewidth": 0.5,
    "xtick.color": _LINE,
    "xtick.labelcolor": _TEXT,
    "ytick.color": _LINE,
    "ytick.labelcolor": _TEXT,
    "ytick.major.size": 0,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_INCHES = 3.4, 1.75


@dataclass(frozen=True)
class Chart:
    """A chart with its text.

    Attributes
    ----------
    title : what it shows, with the unit
    text : its content in one sentence, also for those who do not see it
    svg : the drawing
    """

    title: str
    text: str
    svg: Markup


def histogram_chart(title: str, histogram: Histogram, unit: str = "", section: str = "") -> Chart:
    """Return the chart of a histogram.

    Parameters
    ----------
    unit : of the numbers, for the text
    section : of the page; two charts of different sections may have the same title
    """
    low, mean, high = map(format_number, (histogram.low, histogram.mean, histogram.high))
    span = f"all {low}{unit}" if low == high else f"{low} to {high}{unit}, mean {mean}{unit}"
    svg = steps_svg(f"{section}: {title}", *histogram.bars(), histogram.is_whole)
    return Chart(title, f"{histogram.n:,} {'value' if histogram.n == 1 else 'values'}: {span}", svg)


def histogram_charts(section: str, histograms: Iterable[tuple[str, Histogram]]) -> list[Chart]:
    """Return the charts of those histograms that have numbers."""
    return [histogram_chart(title, histogram, section=section) for title, histogram in histograms if histogram.n]


def steps_svg(name: str, heights: Numbers, edges: Sequence[float] | Numbers, is_whole: bool = False) -> Markup:
    """Return a filled step chart as SVG.

    Parameters
    ----------
    name : makes the identifiers in the SVG unique on the page
    heights : (steps,)
    edges : (steps + 1,); ascending
    is_whole : the numbers on the horizontal axis are whole
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
        axes.stairs(heights, edges, fill=True, color=_BAR)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        for axis, n_ticks, only_whole in ((axes.xaxis, 5, is_whole), (axes.yaxis, 3, True)):
            axis.set_major_locator(MaxNLocator(n_ticks, integer=only_whole))
            if max(map(abs, axis.get_view_interval())) >= 10_000:
                axis.set_major_formatter(EngFormatter(sep=""))
        content = io.StringIO()
        figure.savefig(content, format="svg", transparent=True, metadata=_NO_METADATA)
    return Markup(_for_the_page(content.getvalue()))


def _for_the_page(svg: str) -> str:
    """Return an SVG file as an element of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' id="[a-z0-9.]+_\d+"', "", svg)
    svg = re.sub(r'^<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg)
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg
