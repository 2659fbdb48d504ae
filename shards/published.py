"""Categories tables as files: Parquet, and the authors' CSV files."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa

from fdsl.dataset.categories import FAMILY_KEY, numbered
from fdsl.dataset.families import family_of_csv, published_csv
from shards.files import atomic_folder, parquet_bytes, write_file


def write_categories(table: pa.Table, file: Path | None, csv_folder: Path | None) -> None:
    """Write a categories table as Parquet, CSV, or both.

    The folder appears last. An interruption leaves nothing, or the Parquet file alone.

    Parameters
    ----------
    csv_folder : new or empty, and without `file` in it

    Raises
    ------
    InputError
        The family has no CSV layout, or the folder is not empty.
    """
    with nullcontext() if csv_folder is None else atomic_folder(csv_folder) as folder:
        if folder is not None:
            published_csv(table.schema.metadata[FAMILY_KEY].decode()).write_csv(table, folder)
        if file is not None:
            write_file(file, parquet_bytes(table))


def read_csv(folder: Path) -> pa.Table:
    """Return the categories in a folder of the authors' CSV files.

    Their names tell the family.
    """
    family = family_of_csv(folder)
    return numbered(published_csv(family).read_csv(folder), family)
