"""Measures the search for ExFractalDB's categories against the published one."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
import published_fractals as published
from measures import Agreement, Ratio, agreement_of, clock, ratio_of

import exfractal
from exfractal.categories import draw
from fdsl import parse_spec, search_categories

TARGET = 280.0
"""Least ratio per candidate that passes. It is set below the measured ratio, to allow for a busy machine."""

N_ROUNDS = 7
N_CANDIDATES = 256
"""Per round; as many as a task of `search_categories`."""

_WHOLE_CATEGORIES = 400
_WHOLE_ROUNDS = 3
_SEED = 0


@dataclass(frozen=True)
class SearchResult:
    """Measurements of the search.

    Times are CPU time in us, medians of the rounds.

    Attributes
    ----------
    candidates, rounds : candidates over all rounds, and rounds
    candidate_us, published_candidate_us : per candidate, on the same candidates
    ratio : per candidate
    categories : of the whole search
    category_us : per accepted category of a whole `search_categories`
    published_category_us : the published time per candidate, divided by the acceptance
    acceptance : share of candidates that the whole search accepted, 0..1
    agreement : of the share of candidates accepted
    """

    candidates: int
    rounds: int
    candidate_us: float
    published_candidate_us: float
    ratio: Ratio
    categories: int
    category_us: float
    published_category_us: float
    acceptance: float
    agreement: Agreement

    @property
    def category_ratio(self) -> float:
        """How many times faster ours is per accepted category."""
        return self.published_category_us / self.category_us


class _Contest:
    """Both searches on the same candidates.

    Attributes
    ----------
    ours, published : per candidate, 1.0 if accepted, else 0.0
    """

    def __init__(self) -> None:
        self.params = exfractal.Params()
        self.rng = np.random.default_rng(_SEED)
        self.ours: list[float] = []
        self.published: list[float] = []

    def search_ours(self, attempts: range) -> None:
        """Test candidates by our search."""
        accepted = set(exfractal.sample(self.params, _SEED, attempts).column("attempt").to_pylist())
        self.ours += [float(attempt in accepted) for attempt in attempts]

    def search_published(self, systems: list[published.System]) -> None:
        """Test the same candidates by the published search.

        It also draws a candidate of its own for each and discards it, so that both sides pay for drawing.
        """
        for system in systems:
            published.draw_candidate(self.rng)
            self.published.append(float(published.is_category(system, self.rng)))

    def systems(self, attempts: range) -> list[published.System]:
        """Return our candidates as the published search takes them."""
        candidates = draw(self.params, _SEED, attempts)
        systems = (candidates.candidate(k) for k in range(len(attempts)))
        return [published.system_of(system.maps.tolist(), system.probability.tolist()) for system in systems]


def measure_search() -> SearchResult:
    """Measure both searches in turns, then whole searches of ours."""
    spec = parse_spec(
        {"name": "bench-search", "family": "exfractal", "categories": _WHOLE_CATEGORIES, "instances": {"train": 1}}
    )
    contest = _Contest()
    acceptance = search_categories(spec).acceptance
    ours_s, published_s = [], []
    for k in range(N_ROUNDS):
        attempts = range(k * N_CANDIDATES, (k + 1) * N_CANDIDATES)
        systems = contest.systems(attempts)
        ours_s.append(clock(contest.search_ours, attempts) / N_CANDIDATES)
        published_s.append(clock(contest.search_published, systems) / N_CANDIDATES)
    whole_s = [clock(search_categories, spec) / _WHOLE_CATEGORIES for _ in range(_WHOLE_ROUNDS)]
    return SearchResult(
        candidates=N_CANDIDATES * N_ROUNDS,
        rounds=N_ROUNDS,
        candidate_us=1e6 * median(ours_s),
        published_candidate_us=1e6 * median(published_s),
        ratio=ratio_of(published_s, ours_s, TARGET),
        categories=_WHOLE_CATEGORIES,
        category_us=1e6 * median(whole_s),
        published_category_us=1e6 * median(published_s) / acceptance,
        acceptance=acceptance,
        agreement=agreement_of("share of candidates accepted", list(zip(contest.ours, contest.published, strict=True))),
    )
