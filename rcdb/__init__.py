"""RCDB: images of stacked radial contours, labelled by the parameters that they grow from.

The names below are the family's public contract; `shards.families` says what each must do.
"""

from rcdb.categories import DOMAIN, SCHEMA, sample, unpack
from rcdb.params import Params
from rcdb.render import BACKGROUND, BIT_DEPTH, DRAWN_SCHEMA, SIZE_PX, Drawn, make, render, render_each, warm

__all__ = [
    "BACKGROUND",
    "BIT_DEPTH",
    "DOMAIN",
    "DRAWN_SCHEMA",
    "SCHEMA",
    "SIZE_PX",
    "Drawn",
    "Params",
    "make",
    "render",
    "render_each",
    "sample",
    "unpack",
    "warm",
]
