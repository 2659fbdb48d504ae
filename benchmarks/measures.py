"""What a measurement consists of: CPU time, a ratio with its target, and the proof that both sides did the same work."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from time import process_time
from typing import Any

MOST_STANDARD_ERRORS = 4.0
"""Two sides that do the same work differ by more than this once in 15,000 runs."""


@dataclass(frozen=True)
class Ratio:
    """How many times faster ours is: the median over the rounds, the least and the greatest; what the median must be."""

    median: float
    low: float
    high: float
    target: float

    @property
    def is_met(self) -> bool:
        """Whether the median reaches the target."""
        return self.median >= self.target


@dataclass(frozen=True)
class Agreement:
    """Whether both sides do the same work: the mean of a quantity over the same things, made by each.

    standard_errors : how far apart the means are, in standard errors of the mean difference, pair by pair.
    """

    quantity: str
    ours: float
    published: float
    standard_errors: float

    @property
    def is_same(self) -> bool:
        """Whether the difference may be chance."""
        return abs(self.standard_errors) <= MOST_STANDARD_ERRORS


def clock(work: Callable[..., object], *arguments: Any) -> float:
    """Return the seconds of CPU time, of all threads of this process, that `work` takes; earlier garbage is not its."""
    gc.collect()
    start = process_time()
    work(*arguments)
    return process_time() - start


def ratio_of(published_s: Sequence[float], ours_s: Sequence[float], target: float) -> Ratio:
    """Return the ratio of the times of two sides, measured in the same rounds."""
    ratios = [theirs / ours for theirs, ours in zip(published_s, ours_s, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios), target)


def agreement_of(quantity: str, pairs: Sequence[tuple[float, float]]) -> Agreement:
    """Return how well pairs of (ours, published), two or more, agree."""
    differences = [ours - theirs for ours, theirs in pairs]
    mean, error = fmean(differences), stdev(differences) / math.sqrt(len(pairs))
    return Agreement(
        quantity=quantity,
        ours=fmean(ours for ours, _ in pairs),
        published=fmean(theirs for _, theirs in pairs),
        standard_errors=mean / error if error else math.copysign(math.inf, mean) if mean else 0.0,
    )
