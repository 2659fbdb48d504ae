"""ExFractalDB: images of 3D iterated function systems, labelled by the system.

The names below are the family's public contract; `shards.families` says what each must do.
"""

from exfractal.categories import DOMAIN, SCHEMA, sample, unpack
from exfractal.params import Params
from exfractal.published import read_csv, write_csv
from exfractal.render import BACKGROUND, BIT_DEPTH, DRAWN_SCHEMA, SIZE_PX, Drawn, make, render, render_each, warm

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
    "read_csv",
    "render",
    "render_each",
    "sample",
    "unpack",
    "warm",
    "write_csv",
]
