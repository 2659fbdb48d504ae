"""The report of a ladder: tables, a plot, and the exact commands."""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

from fdsl.ladders.ladder import SCRATCH, Labels, Ladder
from fdsl.ladders.plan import Cell, Run, cells, pretrainings, searches, trials
from fdsl.ladders.running import ENVIRONMENT, best_rate, made_sizes, open_ladder, read_result
from fdsl.primitives.errors import InputError
from shards.files import write_file

Scores = dict[int, float]
"""Top-1 by seed, %."""

_LEGEND = (
    "Top-1 on the test split, %: mean ± standard deviation over {seeds} seeds. Gain: mean of the paired differences to"
    " `scratch` ± its standard error. `*`: the best learning rate is an end of the search, so a better one may lie beyond it."
    " Own top-1: of the pre-training, on its own validation images."
)


@dataclass
class Results:
    """What a ladder has measured so far.

    Attributes
    ----------
    top1 : of each cell
    at_end : cells whose best learning rate is the first or last of the search
    pretrained : top-1 of each (model, rung) on its own validation images
    runs : the finished ones, as the ladder plans them
    """

    ladder: Ladder
    top1: dict[Cell, Scores] = field(default_factory=dict)
    at_end: set[Cell] = field(default_factory=set)
    pretrained: dict[tuple[str, str], Scores] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def add(self, out: Path, runs: Iterable[Run]) -> Scores:
        """Add the runs that are finished; return their top-1 by position."""
        scores = {}
        for number, run in enumerate(runs):
            if (top1 := read_result(out / run.path)) is not None:
                self.runs.append(run)
                scores[number] = top1
        return scores


def read_results(out: Path) -> Results:
    """Read the finished runs of a ladder.

    Raises InputError if the folder holds no ladder, or none of its measurements.
    """
    ladder = open_ladder(out)
    results, sizes, pretrained = Results(ladder), made_sizes(ladder, out), pretrainings(ladder)
    for model, rung in product(ladder.models, ladder.rungs):
        results.pretrained[model, rung] = results.add(out, islice(pretrained, ladder.seeds))
    for cell in cells(ladder):
        results.add(out, searches(ladder, cell, sizes))
        rate, rates = best_rate(ladder, out, cell), sorted(ladder.transfer[cell.kind].rates)
        results.top1[cell] = results.add(out, trials(ladder, cell, sizes, rate)) if rate else {}
        if len(rates) > 1 and rate in (rates[0], rates[-1]):
            results.at_end.add(cell)
    if not any(results.top1.values()):
        raise InputError(f"`{out}` has no measurement yet; resume it with `fdsl ladder run`")
    return results


def mean_and_spread(values: list[float], divisor: float = 1.0, sign: str = "") -> str:
    """Return a mean ± standard deviation; no spread of one value."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):{sign}.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values) / divisor:.1f}"


def gains(results: Results, cell: Cell) -> list[float]:
    """Return the paired differences of a cell to scratch."""
    plain, own = results.top1[cell._replace(arm=SCRATCH)], results.top1[cell]
    return [own[seed] - plain[seed] for seed in own if seed in plain]


def report_lines(results: Results) -> Iterator[str]:
    """Yield the report as Markdown."""
    ladder = results.ladder
    yield _LEGEND.format(seeds=ladder.seeds)
    for kind, model, target in product(ladder.transfer, ladder.models, ladder.targets):
        labels = ladder.targets[target].labels
        yield from ("", f"**{kind} of {model} on {target}**", "")
        yield " | ".join(["| pre-trained on | own top-1", *(f"{n} labels | gain" for n in labels)]) + " |"
        yield "|---" * (2 + 2 * len(labels)) + "|"
        for arm in ladder.arms:
            own = mean_and_spread([*results.pretrained.get((model, arm), {}).values()])
            yield (
                " | ".join([f"| {arm} | {own}", *(_entry(results, Cell(kind, model, arm, target, n)) for n in labels)])
                + " |"
            )


def _entry(results: Results, cell: Cell) -> str:
    """Return a cell's mean and gain."""
    values = gains(results, cell) if cell.arm != SCRATCH else []
    star = " *" if cell in results.at_end else ""
    return (
        f"{mean_and_spread([*results.top1[cell].values()])}{star} | {mean_and_spread(values, len(values) ** 0.5, '+')}"
    )


def plot(results: Results) -> bytes:
    """Return the plot as a PNG file.

    A panel per kind, model and target; a colour per number of labels.
    """
    from matplotlib.figure import Figure

    ladder = results.ladder
    rows, columns = [*product(ladder.transfer, ladder.targets)], [*ladder.models]
    width = 3 + len(columns) * (1.2 + 0.55 * len(ladder.arms))
    figure = Figure(figsize=(width, 1 + 3 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True)
    for (row, (kind, target)), (column, model) in product(enumerate(rows), enumerate(columns)):
        axes: Any = grid[row][column]
        for k, n_labels in enumerate(ladder.targets[target].labels):
            _draw(axes, results, kind, model, target, n_labels, f"C{k}")
        axes.set(title=f"{kind} of {model} on {target}", ylabel="top-1, %")
        axes.grid(axis="y", alpha=0.3)
        axes.set_xticks(range(len(ladder.arms)), ladder.arms, rotation=45, ha="right")
    for panels in grid:
        panels[-1].legend(title="labels per class", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    content = io.BytesIO()
    figure.savefig(content, dpi=110)
    return content.getvalue()


def _draw(axes: Any, results: Results, kind: str, model: str, target: str, n_labels: Labels, color: str) -> None:
    """Draw each arm's mean and spread; scratch as a level."""
    cells = [Cell(kind, model, arm, target, n_labels) for arm in results.ladder.arms]
    values = {x: [*results.top1[cell].values()] for x, cell in enumerate(cells) if results.top1[cell]}
    means = [statistics.mean(each) for each in values.values()]
    spreads = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in values.values()]
    axes.errorbar([*values], means, spreads, color=color, marker="o", linestyle="", capsize=3, label=str(n_labels))
    if 0 in values:
        axes.axhline(means[0], color=color, linestyle=":", linewidth=1)


def write_report(out: Path) -> list[str]:
    """Write report.md, report.png and commands.sh into a ladder's folder.

    Returns
    -------
    Lines of report.md

    Raises
    ------
    InputError
        The folder holds no ladder, or none of its measurements.
    """
    results = read_results(out)
    lines = list(report_lines(results))
    write_file(out / "report.png", plot(results))
    write_file(out / "report.md", "".join(f"{line}\n" for line in [*lines, "", "![Results](report.png)"]).encode())
    commands = ["set -e", *(f"export {key}={value}" for key, value in ENVIRONMENT.items())]
    commands += [run.command for run in results.runs]
    write_file(out / "commands.sh", "".join(f"{line}\n" for line in commands).encode())
    return lines
