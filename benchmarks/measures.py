"""CPU times, ratios with a target, and agreement of two sides."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from time import process_time
from typing import Any

MAX_STANDARD_ERRORS = 4.0
"""Two sides that do the same work exceed this once in 15,000 runs."""


@dataclass(frozen=True)
class Ratio:
    """How many times faster our side is.

    Attributes
    ----------
    median, low, high : over the rounds
    target : least median that passes
    """

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
    """Evidence that both sides do the same work.

    Attributes
    ----------
    quantity : what is compared
    ours, published : mean of the quantity on each side
    standard_errors : difference of the means, in standard errors of the mean paired difference
    """

    quantity: str
    ours: float
    published: float
    standard_errors: float

    @property
    def is_same(self) -> bool:
        """Whether the difference may be chance."""
        return abs(self.standard_errors) <= MAX_STANDARD_ERRORS


def clock(work: Callable[..., object], *arguments: Any) -> float:
    """Return the CPU seconds of a call, over all threads.

    Collects garbage first, so that no earlier work is counted.
    """
    gc.collect()
    start = process_time()
    work(*arguments)
    return process_time() - start


def ratio_of(published_s: Sequence[float], ours_s: Sequence[float], target: float) -> Ratio:
    """Return the ratio of times measured in the same rounds."""
    ratios = [theirs / ours for theirs, ours in zip(published_s, ours_s, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios), target)


def agreement_of(quantity: str, pairs: Sequence[tuple[float, float]]) -> Agreement:
    """Return how well two or more pairs of (ours, published) agree."""
    differences = [ours - theirs for ours, theirs in pairs]
    mean, error = fmean(differences), stdev(differences) / math.sqrt(len(pairs))
    return Agreement(
        quantity=quantity,
        ours=fmean(ours for ours, _ in pairs),
        published=fmean(theirs for _, theirs in pairs),
        standard_errors=mean / error if error else math.copysign(math.inf, mean) if mean else 0.0,
    )
