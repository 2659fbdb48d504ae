"""The parameters of RCDB."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from primitives.fields import Checked, Integer, Interval, Number, Subset, ruled

LABELS = ("vertices", "contours", "perlin", "gap", "radius", "aspect")
"""The parameters that can make up a category, in the order of the paper's ladder."""


@dataclass(frozen=True)
class Params(Checked):
    """How RCDB's categories and images are drawn; the defaults are the published ones. Lengths are px of a 512 px canvas.

    Every range is [lowest, highest]; equal ends hold the quantity fixed.

    label : the parameters drawn once per category; the others are drawn per image.
    vertices : of a polygon, in 3..1,000: floor of an exponential of mean 100, drawn again until it lies in the range.
    contours : polygons of an image, uniform integer in 1..1,000.
    perlin : coefficient of the noise by which a contour grows, px, uniform in 0..100.
    gap : what is added to each step outwards, px, uniform in 0..100 (published as a line width; lines are always 1 px).
    radius : of the polygon that the first contour grows from, px, uniform integer in 0..1,000.
    aspect : its stretch along x and along y, each uniform in 0.1..10.
    centre : the centre is (512 + c) / 2 on each axis with c px, uniform integer in -1,024..1,024.
    broken : the probability of each edge to be left out, 0..1: the broken contours of the paper's control. The edges that
        stay are those of the whole image.

    Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
    """

    PATH: ClassVar[str] = "params."

    label: tuple[str, ...] = ruled(Subset(LABELS), LABELS[:4])
    vertices: tuple[int, int] = ruled(Interval(Integer(3, 1000)), (3, 200))
    contours: tuple[int, int] = ruled(Interval(Integer(1, 1000)), (1, 200))
    perlin: tuple[float, float] = ruled(Interval(Number(0.0, 100.0)), (0.0, 4.0))
    gap: tuple[float, float] = ruled(Interval(Number(0.0, 100.0)), (0.0, 0.1))
    radius: tuple[int, int] = ruled(Interval(Integer(0, 1000)), (0, 100))
    aspect: tuple[float, float] = ruled(Interval(Number(0.1, 10.0)), (1.0, 2.0))
    centre: tuple[int, int] = ruled(Interval(Integer(-1024, 1024)), (-400, 400))
    broken: float = ruled(Number(0.0, 1.0), 0.0)

    @property
    def max_categories(self) -> int | None:
        """How many different categories the label allows; None if it holds a real number that varies."""
        ranges: dict[str, tuple[int, int]] = {name: getattr(self, name) for name in self.label}
        if any(low < high for name, (low, high) in ranges.items() if name in ("perlin", "gap", "aspect")):
            return None
        return math.prod(
            high - low + 1 for name, (low, high) in ranges.items() if name in ("vertices", "contours", "radius")
        )


@cache
def limits(name: str) -> Integer | Number:
    """Return what the range of a parameter must lie in, by the parameter's name."""
    (rule,) = (field.metadata["rule"] for field in dataclasses.fields(Params) if field.name == name)
    ends: Integer | Number = rule.ends
    return ends
