"""Parameters of RCDB."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticCustomError

from fdsl.primitives.validation import FamilyParams, Range, as_tuple

TITLE = "RCDB"
CITATION = 'Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022 (RCDB)'

LABELS = ("vertices", "contours", "perlin", "gap", "radius", "aspect")
"""Parameters that can define a category, in the order of the paper's experiment."""

_Label = Literal["vertices", "contours", "perlin", "gap", "radius", "aspect"]
_Vertices = Annotated[int, Field(ge=3, le=1000)]
_Contours = Annotated[int, Field(ge=1, le=1000)]
_Growth = Annotated[float, Field(ge=0, le=100)]
_Radius = Annotated[int, Field(ge=0, le=1000)]
_Aspect = Annotated[float, Field(ge=0.1, le=10)]
_Centre = Annotated[int, Field(ge=-1024, le=1024)]


def _in_order(label: tuple[_Label, ...]) -> tuple[_Label, ...]:
    """Check a label and sort it as LABELS."""
    if not label:
        raise PydanticCustomError("empty", "must name one or more of {labels}", {"labels": ", ".join(LABELS)})
    if len(set(label)) != len(label):
        raise PydanticCustomError("duplicate", "must name each parameter once")
    return tuple(sorted(label, key=LABELS.index))


class Params(FamilyParams):
    """How categories and images are drawn.

    The defaults are the published values. Lengths are px of a 512 px canvas. A range is [lowest, highest]; equal
    ends fix the quantity.

    Attributes
    ----------
    label : one or more of LABELS; drawn once per category. The others are drawn per image.
    vertices : 3 .. 1,000; range of the vertices of a polygon, the floor of an exponential of mean 100, redrawn until in range
    contours : 1 .. 1,000; range of the polygons of an image, uniform
    perlin : 0 .. 100 px; range of the noise coefficient by which a contour grows, uniform
    gap : 0 .. 100 px; range of the length added to each step outwards, uniform (published as a line width; lines are 1 px)
    radius : 0 .. 1,000 px; range of the radius that the first contour grows from, uniform integer
    aspect : 0.1 .. 10; range of the stretch along x and along y, each uniform
    centre : -1,024 .. 1,024 px; range of c, uniform integer; the centre is (512 + c) / 2 on each axis
    broken : 0..1; probability of omitting an edge, for the paper's control of broken contours. The other edges do not change.

    Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
    """

    label: Annotated[tuple[_Label, ...], BeforeValidator(as_tuple), AfterValidator(_in_order)] = (
        "vertices", "contours", "perlin", "gap",
    )  # fmt: skip
    vertices: Range[_Vertices] = (3, 200)
    contours: Range[_Contours] = (1, 200)
    perlin: Range[_Growth] = (0.0, 4.0)
    gap: Range[_Growth] = (0.0, 0.1)
    radius: Range[_Radius] = (0, 100)
    aspect: Range[_Aspect] = (1.0, 2.0)
    centre: Range[_Centre] = (-400, 400)
    broken: float = Field(0.0, ge=0, le=1)

    @property
    def max_categories(self) -> int | None:
        """Number of different categories that are possible.

        None if the label has a real number that varies.
        """
        ranges: dict[str, tuple[int, int]] = {name: getattr(self, name) for name in self.label}
        if any(low < high for name, (low, high) in ranges.items() if name in ("perlin", "gap", "aspect")):
            return None
        return math.prod(
            high - low + 1 for name, (low, high) in ranges.items() if name in ("vertices", "contours", "radius")
        )


_VALUES = {
    "vertices": _Vertices,
    "contours": _Contours,
    "perlin": _Growth,
    "gap": _Growth,
    "radius": _Radius,
    "aspect": _Aspect,
}

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)

VALUE_CHECKS: dict[str, TypeAdapter[int | float]] = {
    name: TypeAdapter(kind, config=_STRICT) for name, kind in _VALUES.items()
}
"""Check of one value of each parameter in LABELS."""
