"""ExFractalDB: images of 3D iterated function systems, labelled by the system.

The names below are the family's contract; see `fdsl.dataset.families`.
"""

from exfractal.categories import DOMAIN, SCHEMA, sample, unpack
from exfractal.params import CITATION, TITLE, Params
from exfractal.published import CSV_NAME, read_csv, write_csv
from exfractal.render import BACKGROUND, BIT_DEPTH, SIZE_PX, UNITS, VARIANT_SCHEMA, compile_kernels, render_each, turn

__all__ = [
    "BACKGROUND",
    "BIT_DEPTH",
    "CITATION",
    "CSV_NAME",
    "DOMAIN",
    "SCHEMA",
    "SIZE_PX",
    "TITLE",
    "UNITS",
    "VARIANT_SCHEMA",
    "Params",
    "compile_kernels",
    "read_csv",
    "render_each",
    "sample",
    "turn",
    "unpack",
    "write_csv",
]
