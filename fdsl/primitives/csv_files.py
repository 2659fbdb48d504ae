"""The authors' folders of parameter files: one CSV file per category."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded

_MAX_BYTES = 2**18
"""Limit of a file's size: 256 maps of 13 numbers, with room to spare."""


def category_files(folder: Path, name: str) -> list[Path]:
    """Return the files of a folder, in the order of categories.

    Ignores hidden files, such as the ._000000.csv of macOS.

    Parameters
    ----------
    name : format of a category's file name, such as {:06}.csv

    Raises
    ------
    InputError
        No such files, or a gap in their numbers.
    """
    paths = [path for path in folder.glob("*.csv") if not path.name.startswith(".")]
    if not paths:
        names = f"{name.format(0)}, {name.format(1)}, ..."
        raise InputError(f"`{folder}` holds no CSV files; it must have one per category: {names}")
    paths.sort(key=lambda path: (max(len(path.name), len(name.format(0))), path.name))
    for category, path in enumerate(paths):
        if path.name != name.format(category):
            first = name.format(0).removesuffix(".csv")
            raise InputError(
                f"`{path}` should be {name.format(category)}: categories are numbered from {first} without gaps"
            )
    return paths


def read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """Return the number and cells of each line that is not blank.

    Raises
    ------
    InputError
        The file is too large, or not CSV in ASCII.
    """
    content = read_bounded(path, _MAX_BYTES).removeprefix(codecs.BOM_UTF8)
    try:
        lines = list(csv.reader(io.StringIO(content.decode("ascii"), newline="")))
    except UnicodeDecodeError as error:
        byte = f"byte 0x{content[error.start]:02x} at position {error.start}"
        raise InputError(f"`{path}` is not ASCII text ({byte}); save it as CSV without other characters") from None
    except csv.Error as error:
        raise InputError(f"`{path}`: {error}") from None
    return [(line, cells) for line, cells in enumerate(lines, 1) if len(cells) > 1 or any(map(str.strip, cells))]
