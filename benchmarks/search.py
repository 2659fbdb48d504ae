"""The search for ExFractalDB's categories: ours against the published one, on the same candidates."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np
import published
from measures import Agreement, Ratio, agreement_of, clock, ratio_of

import exfractal
from exfractal.categories import draw
from shards.categories import sample_categories
from shards.spec import parse_spec

N_ROUNDS = 7
N_CANDIDATES = 256
"""Of a round; as many as a worker of `fdsl sample` is given at a time."""

_WHOLE_CATEGORIES = 400
_WHOLE_ROUNDS = 3
_SEED = 0


@dataclass(frozen=True)
class SearchResult:
    """What was measured of the search. Times are CPU time in us, medians of the rounds.

    candidate_us, published_candidate_us : per candidate, on the same candidates.
    category_us : per accepted category, of the whole of `sample_categories`.
    published_category_us : the published search's time per candidate, divided by the acceptance.
    acceptance : the share of candidates that the whole search accepted, 0..1.
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
    """Both searches, round by round.

    ours, published : of each candidate, 1.0 where accepted and 0.0 where not.
    """

    def __init__(self) -> None:
        self.params = exfractal.Params()
        self.rng = np.random.default_rng(_SEED)
        self.ours: list[float] = []
        self.published: list[float] = []

    def search_ours(self, attempts: range) -> None:
        """Test our candidates."""
        found = set(exfractal.sample(self.params, _SEED, attempts).column("attempt").to_pylist())
        self.ours += [float(attempt in found) for attempt in attempts]

    def search_published(self, systems: list[published.System]) -> None:
        """Test the same candidates; the published search draws its own as well, to pay for that, and drops them."""
        for system in systems:
            published.draw_candidate(self.rng)
            self.published.append(float(published.is_category(system, self.rng)))

    def systems(self, attempts: range) -> list[published.System]:
        """Return our candidates in the form that the published search takes."""
        candidates = draw(self.params, _SEED, attempts)
        drawn = (candidates.candidate(k) for k in range(len(attempts)))
        return [published.system_of(maps.tolist(), probability.tolist()) for maps, probability in drawn]


def measure_search(target: float) -> SearchResult:
    """Measure the search; `target` is the ratio per candidate that must be reached."""
    spec = parse_spec(
        {"name": "bench-search", "family": "exfractal", "categories": _WHOLE_CATEGORIES, "instances": {"train": 1}}
    )
    contest = _Contest()
    acceptance = sample_categories(spec).acceptance
    ours_s, published_s, whole_s = [], [], []
    for number in range(N_ROUNDS):
        attempts = range(number * N_CANDIDATES, (number + 1) * N_CANDIDATES)
        systems = contest.systems(attempts)
        ours_s.append(clock(contest.search_ours, attempts) / N_CANDIDATES)
        published_s.append(clock(contest.search_published, systems) / N_CANDIDATES)
    for _ in range(_WHOLE_ROUNDS):
        whole_s.append(clock(sample_categories, spec) / _WHOLE_CATEGORIES)
    return SearchResult(
        candidates=N_CANDIDATES * N_ROUNDS,
        rounds=N_ROUNDS,
        candidate_us=1e6 * median(ours_s),
        published_candidate_us=1e6 * median(published_s),
        ratio=ratio_of(published_s, ours_s, target),
        categories=_WHOLE_CATEGORIES,
        category_us=1e6 * median(whole_s),
        published_category_us=1e6 * median(published_s) / acceptance,
        acceptance=acceptance,
        agreement=agreement_of("share of candidates accepted", list(zip(contest.ours, contest.published, strict=True))),
    )
