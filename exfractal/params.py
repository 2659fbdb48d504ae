"""Parameters of ExFractalDB."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from fdsl.primitives.validation import FamilyParams, Range, one_of

TITLE = "ExFractalDB"
CITATION = (
    'Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022 (ExFractalDB)'
)

N_COEFFICIENTS = 12
"""Of one map: the matrix a..i row by row, then the translation j, k, l."""

N_VIEWS = 12
"""Views of a ring, one every 30 degrees."""

_Maps = Annotated[int, Field(ge=2, le=16)]


class Params(FamilyParams):
    """How categories and images are drawn.

    The defaults are the published values.

    Attributes
    ----------
    maps : 2 .. 16; range of the number of maps of a category, uniform
    points : 100 .. 10,000,000; points of the chaos game. Few points make broken contours.
    variance_threshold : 0..1; least variance of a category along each axis, in normalised coordinates
    weight_range : 0, 0.1 .. 0.6; weight factors of an image lie within this of 1, in steps of 0.1. 0.6 gives the published
        table of 145 rows; 0.1 .. 0.5 give its smaller ones of 25, 49, 73, 97 and 121 rows.
    weights : `random` draws a row of that table for each image, or for each ring of views. `each` takes the rows in turn, so
        that 145 images, or rings, have each row once. A row that diverges is replaced by a random one.
    viewpoint : `random` is uniform over all rotations (ExFractalDB). `ring` takes 12 views around the vertical axis in turn,
        all of one weight and one point cloud (MV-FractalDB).
    jitter_deg : 0..15, degrees; each view of a ring is turned by up to this. The published code converts to radians twice,
        which gives pi degrees.

    Source: Kataoka et al., "Replacing Labeled Real-image Datasets with Auto-generated Contours", CVPR 2022, and its code.
    """

    maps: Range[_Maps] = (2, 7)
    points: int = Field(10_000, ge=100, le=10_000_000)
    variance_threshold: float = Field(0.05, ge=0, le=1)
    weight_range: Annotated[int | float, BeforeValidator(one_of((0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)))] = 0.6
    weights: Literal["random", "each"] = "random"
    viewpoint: Literal["random", "ring"] = "random"
    jitter_deg: float = Field(3.141592653589793, ge=0, le=15)

    @cached_property
    def factors(self) -> tuple[float, ...]:
        """Weight factors other than 1, ascending: 0.4, 0.5 .. 1.6."""
        steps = round(self.weight_range * 10)
        return tuple((10 + step) / 10 for step in range(-steps, steps + 1) if step)

    @property
    def n_weights(self) -> int:
        """Rows of the weight table.

        They are the identity, and one per coefficient and factor.
        """
        return 1 + N_COEFFICIENTS * len(self.factors)

    @property
    def instances_step(self) -> int:
        """Images of a category that have each weight once.

        1 if `weights` is `random`.
        """
        n_views = N_VIEWS if self.viewpoint == "ring" else 1
        return self.n_weights * n_views if self.weights == "each" else 1
