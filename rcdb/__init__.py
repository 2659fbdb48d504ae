"""RCDB: images of stacked radial contours, labelled by their parameters.

The names below are the family's contract; see `fdsl.dataset.families`.
"""

from rcdb.categories import DOMAIN, SCHEMA, sample, unpack
from rcdb.params import CITATION, TITLE, Params
from rcdb.published import CSV_NAME, read_csv, write_csv
from rcdb.render import BACKGROUND, BIT_DEPTH, SIZE_PX, UNITS, VARIANT_SCHEMA, compile_kernels, render_each

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
    "unpack",
    "write_csv",
]
