"""The authors' CSV files of categories."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from fdsl.dataset.categories import FAMILY_KEY, numbered
from fdsl.dataset.families import published_csv


def write_csv(table: pa.Table, folder: Path) -> None:
    """Write a categories table as the authors' CSV files.

    Raises InputError if the family has no CSV layout.
    """
    published_csv(table.schema.metadata[FAMILY_KEY].decode()).write_csv(table, folder)


def read_csv(family: str, folder: Path) -> pa.Table:
    """Return the categories in a folder of the authors' CSV files."""
    return numbered(published_csv(family).read_csv(folder), family)
