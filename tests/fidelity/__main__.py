"""Measures whether the datasets are the published ones, and writes docs/fidelity.md.

    python -m tests.fidelity      # about three minutes; `make fidelity` runs this

Exits with 1 if something differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measures import MAX_STANDARD_ERRORS, Agreement
from benchmarks.outputs import ROOT, write_block
from tests.fidelity import contours, distributions, pictures, plots
from tests.fidelity.distributions import Accepted, Sample
from tests.fidelity.pictures import Equality
from tests.fidelity.plots import CONTOURS, FRACTALS, PICTURES

N_COLUMNS = 8
"""Pictures in a row."""


class Sizes(NamedTuple):
    """How much is measured: (categories, images of each), or a number of samples."""

    fractals: tuple[int, int] = (250, 4)
    contours: tuple[int, int] = (250, 4)
    positions: int = 1_000_000
    candidates: int = 200_000
    transcribed_candidates: int = 20_000
    viewpoints: int = 100_000
    categories: int = 100_000
    contour_images: tuple[int, int] = (200, 100)


FULL = Sizes()


def noise_equality(n: int) -> Equality:
    """Compare the transcription's noise with the library of the published generator."""
    import noise  # compiled from C, so not among the packages of the tests

    positions = np.random.default_rng(0).uniform(0, 10_000, n)
    library = np.array([noise.pnoise1(u) for u in positions.tolist()], dtype=np.float32)
    return Equality(n, int((contours.perlin(positions) == library).sum()))


def picture_lines(equalities: dict[str, Equality], agreements: Sequence[Agreement]) -> Iterator[str]:
    """Yield the tables of pictures."""
    yield f"{'with the same random numbers':44}{'compared':>12}{'equal':>12}"
    for name, (n, n_equal) in equalities.items():
        yield f"  {name:42}{n:12,}{n_equal:12,}"
    yield ""
    yield f"{'ExFractalDB, with other random numbers':44}{'transcription':>15}{'ours':>9}  standard errors apart"
    for quantity, ours, theirs, errors in ((a.quantity, a.ours, a.published, a.standard_errors) for a in agreements):
        yield f"  {quantity:42}{theirs:15.2f}{ours:9.2f}{errors:+8.1f}"


def law_lines(samples: dict[str, list[Sample]], accepted: dict[str, Accepted]) -> Iterator[str]:
    """Yield the tables of distributions and acceptance."""
    header = f"{'as published':28}{'mean':>10}{'ours':>10}{'samples':>12}  misfit"
    for family, quantities in samples.items():
        yield f"{family:36}{header}"
        for s in quantities:
            mean = round(float(s.values.mean()), 2) + 0.0  # 0.0, not -0.0
            means = f"{s.law.mean:10,.2f}{mean:10,.2f}"
            yield f"  {s.quantity:34}{s.law.text:28}{means}{len(s.values):12,}{s.misfit:+8.1f}"
        yield ""
    yield f"{'ExFractalDB, candidates':28}{'tried':>12}{'accepted':>12}{'%':>16}{'mean of their maps':>22}"
    for name, found in accepted.items():
        percent = f"{found.percent:.2f} +- {found.percent_error:.2f}"
        maps = f"{found.n_maps.mean():.2f} +- {found.maps_error:.2f}"
        yield f"  {name:26}{found.n_candidates:12,}{len(found.n_maps):12,}{percent:>16}{maps:>22}"
    percent_apart, maps_apart = distributions.errors_apart(*accepted.values())
    yield f"  {'standard errors apart':50}{percent_apart:+16.1f}{maps_apart:+22.1f}"


def write_plots(
    docs: Path, samples: dict[str, list[Sample]], accepted: dict[str, Accepted], fill_rates: list[tuple[float, float]]
) -> None:
    """Write the pictures and plots of the page."""
    fractals = list(pictures.draw_fractals(N_COLUMNS // 2, 1))
    both = list(pictures.draw_contours(N_COLUMNS // 2, 1))
    rows = {
        "ours": [picture.ours for picture in fractals] + [ours for ours, _ in both],
        "transcription": [picture.other for picture in fractals] + [transcribed for _, transcribed in both],
    }
    plots.plot_pictures(rows, docs / PICTURES)
    plots.plot_contours(samples["RCDB"][:3], docs / CONTOURS)
    maps, _, _, height, azimuth, *_ = samples["ExFractalDB"]
    plots.plot_fractals(maps, accepted, fill_rates, (azimuth, height), docs / FRACTALS)


def differing(
    equalities: dict[str, Equality],
    agreements: Sequence[Agreement],
    samples: dict[str, list[Sample]],
    accepted: dict[str, Accepted],
) -> list[str]:
    """Return the names of what is not as published."""
    names = [name for name, (n, n_equal) in equalities.items() if n_equal < n]
    names += [agreement.quantity for agreement in agreements if not agreement.is_same]
    quantities = [sample for family in samples.values() for sample in family]
    names += [sample.quantity for sample in quantities if abs(sample.misfit) > MAX_STANDARD_ERRORS]
    apart = zip(("accepted", "their maps"), distributions.errors_apart(*accepted.values()), strict=True)
    return names + [name for name, errors in apart if abs(errors) > MAX_STANDARD_ERRORS]


def main(sizes: Sizes = FULL, docs: Path = ROOT / "docs") -> int:
    """Measure, print, write the page and its plots; return the exit status."""
    same, pairs = pictures.compare_fractals(pictures.draw_fractals(*sizes.fractals))
    equalities = {
        "ExFractalDB, images": same,
        "RCDB, images": pictures.equality(pictures.draw_contours(*sizes.contours)),
        "RCDB, noise, with the published C library": noise_equality(sizes.positions),
    }
    agreements = pictures.agreements(pairs)
    samples = {
        "ExFractalDB": distributions.candidates(sizes.candidates) + distributions.viewpoints(sizes.viewpoints),
        "RCDB": distributions.categories(sizes.categories) + distributions.contour_images(*sizes.contour_images),
    }
    accepted = {
        "ours": distributions.accepted_by_us(sizes.candidates),
        "transcription": distributions.accepted_by_transcription(sizes.transcribed_candidates),
    }
    tables = {"pictures": picture_lines(equalities, agreements), "distributions": law_lines(samples, accepted)}
    for block, table in tables.items():
        lines = list(table)
        print(*lines, sep="\n")
        write_block(docs / "fidelity.md", block, lines)
    write_plots(docs, samples, accepted, pairs["fill rate, %"])
    names = differing(equalities, agreements, samples, accepted)
    print(f"not as published: {', '.join(names)}" if names else "all as published")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
