"""The authors' parameter files in CSV.

There is one file per category and one row per map, without a header. The columns are a..l and the probability.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
from pathlib import Path

import pyarrow as pa

from exfractal.categories import SCHEMA, system
from exfractal.params import N_COEFFICIENTS
from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded

_COLUMNS = N_COEFFICIENTS + 1
_MAX_BYTES = 2**18
"""Size of a file: 256 maps of 13 numbers, with room to spare."""


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _read_map(line: int, cells: list[str]) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        raise InputError(f"line {line} (={','.join(cells)[:80]!r}) must hold numbers only") from None
    if len(numbers) != _COLUMNS:
        raise InputError(f"line {line} has {len(numbers)} columns; a map has {_COLUMNS}: a..l and its probability")
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"line {line} (={','.join(cells)[:80]!r}) must hold finite numbers only")
    return numbers


def _read_category(path: Path) -> tuple[list[list[float]], list[float]]:
    """Return the maps and probabilities in a file.

    Raises InputError, naming the line.
    """
    content = read_bounded(path, _MAX_BYTES).removeprefix(codecs.BOM_UTF8)
    try:
        lines = csv.reader(io.StringIO(content.decode("ascii"), newline=""))
        rows = [_read_map(line, cells) for line, cells in enumerate(lines, 1) if not _is_blank(cells)]
        maps, probability = [row[:N_COEFFICIENTS] for row in rows], [row[N_COEFFICIENTS] for row in rows]
        system(maps, probability)
    except UnicodeDecodeError as error:
        byte = f"byte 0x{content[error.start]:02x} at position {error.start}"
        raise InputError(f"`{path}` is not ASCII text ({byte}); save it as CSV without other characters") from None
    except (InputError, csv.Error) as error:
        raise InputError(f"`{path}`: {error}") from None
    return maps, probability


def read_csv(folder: Path) -> pa.Table:
    """Return the categories in a folder of 000000.csv, 000001.csv, ...

    Ignores hidden files, such as the ._000000.csv of macOS.

    Returns
    -------
    a table of SCHEMA

    Raises
    ------
    InputError
        No such files, a gap in their numbers, a row that is not 13 finite numbers, or maps that are not a system.
    """
    paths = sorted(path for path in folder.glob("*.csv") if not path.name.startswith("."))
    if not paths:
        raise InputError(f"`{folder}` holds no CSV files; it must have one per category: 000000.csv, 000001.csv, ...")
    rows = []
    for category, path in enumerate(paths):
        if path.stem != f"{category:06}":
            raise InputError(f"`{path}` should be {category:06}.csv: categories are numbered from 000000 without gaps")
        maps, probability = _read_category(path)
        rows.append({"category": category, "attempt": None, "maps": maps, "probability": probability})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_csv(table: pa.Table, folder: Path) -> None:
    """Write a categories table as the authors' CSV files into an empty folder.

    Reading them gives the same numbers to the last bit.
    """
    for row in table.to_pylist():
        with (folder / f"{row['category']:06}.csv").open("w", newline="", encoding="ascii") as file:
            csv.writer(file).writerows(
                [*map(repr, coefficients), repr(probability)]
                for coefficients, probability in zip(row["maps"], row["probability"], strict=True)
            )
