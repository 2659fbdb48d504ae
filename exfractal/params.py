"""The parameters of ExFractalDB."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from primitives.fields import Checked, Choice, Integer, Interval, Number, ruled

N_COEFFICIENTS = 12
"""Of one map: the matrix a..i row by row, then the translation j, k, l."""

N_VIEWS = 12
"""Of a ring: one every 30 degrees."""


@dataclass(frozen=True)
class Params(Checked):
    """How ExFractalDB's categories and images are drawn; the defaults are the published ones.

    maps : the number of maps of a category, uniform in [lowest, highest], 2..16.
    points : points of the chaos game, 100..10,000,000. Fewer make broken contours.
    variance_threshold : a category's variance along each axis, in normalised coordinates, exceeds it.
    weight_range : an image's weight factors lie within this of 1, a step of 0.1 apart: 0 (no weights), 0.1 .. 0.6.
        0.6 gives the published table of 145 rows, 0.1 .. 0.5 its smaller ones of 25, 49, 73, 97 and 121.
    viewpoint : `random` is uniform over all rotations (ExFractalDB); `ring` takes 12 views around the vertical axis in
        turn, of one weight and one cloud of points (MV-FractalDB).
    jitter_deg : each view of a ring is turned by up to this much, degrees, 0..15. The published code converts to radians
        twice and so turns by up to pi degrees.

    Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
    """

    PATH: ClassVar[str] = "params."

    maps: tuple[int, int] = ruled(Interval(Integer(2, 16)), (2, 7))
    points: int = ruled(Integer(100, 10_000_000), 10_000)
    variance_threshold: float = ruled(Number(0.0, 1.0), 0.05)
    weight_range: float = ruled(Choice((0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)), 0.6)
    viewpoint: str = ruled(Choice(("random", "ring")), "random")
    jitter_deg: float = ruled(Number(0.0, 15.0), 3.141592653589793)

    @cached_property
    def factors(self) -> tuple[float, ...]:
        """The weight factors other than 1, from the smallest: 0.4, 0.5 ... 1.6."""
        steps = round(self.weight_range * 10)
        return tuple((10 + step) / 10 for step in range(-steps, steps + 1) if step)

    @property
    def n_weights(self) -> int:
        """Rows of the weight table: the identity and, for each coefficient, one row per factor."""
        return 1 + N_COEFFICIENTS * len(self.factors)

    @property
    def max_categories(self) -> int | None:
        """How many different categories there can be: None, as many as one likes."""
        return None
