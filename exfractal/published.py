"""The authors' parameter files in CSV.

There is one file per category and one row per map, without a header. The columns are a..l and the probability.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pyarrow as pa

from exfractal.categories import SCHEMA, system
from exfractal.params import N_COEFFICIENTS
from fdsl.primitives.csv_files import category_files, read_cells
from fdsl.primitives.errors import InputError

CSV_NAME = "{:06}.csv"

_COLUMNS = N_COEFFICIENTS + 1


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
    lines = read_cells(path)
    try:
        rows = [_read_map(line, cells) for line, cells in lines]
        maps, probability = [row[:N_COEFFICIENTS] for row in rows], [row[N_COEFFICIENTS] for row in rows]
        system(maps, probability)
    except InputError as error:
        raise InputError(f"`{path}`: {error}") from None
    return maps, probability


def read_csv(folder: Path) -> pa.Table:
    """Return the categories in a folder of 000000.csv, 000001.csv, ...

    Returns
    -------
    a table of SCHEMA

    Raises
    ------
    InputError
        No such files, a gap in their numbers, a row that is not 13 finite numbers, or maps that are not a system.
    """
    rows = []
    for category, path in enumerate(category_files(folder, CSV_NAME)):
        maps, probability = _read_category(path)
        rows.append({"category": category, "attempt": None, "maps": maps, "probability": probability})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_csv(table: pa.Table, folder: Path) -> None:
    """Write the authors' CSV files into an empty folder.

    Reading them gives the same numbers to the last bit.
    """
    for row in table.to_pylist():
        with (folder / CSV_NAME.format(row["category"])).open("w", newline="", encoding="ascii") as file:
            csv.writer(file).writerows(
                [*map(repr, coefficients), repr(probability)]
                for coefficients, probability in zip(row["maps"], row["probability"], strict=True)
            )
