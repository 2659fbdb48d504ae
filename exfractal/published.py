"""The authors' parameter files: one CSV per category, one row per map, a..l and the probability, no header."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa

from exfractal.categories import SCHEMA
from exfractal.params import N_COEFFICIENTS
from primitives.fields import InputError

_COLUMNS = N_COEFFICIENTS + 1


def _read_map(path: Path, line: int, cells: list[str]) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        raise InputError(f"{path}:{line} (={','.join(cells)!r}) must hold numbers only") from None
    if len(numbers) != _COLUMNS:
        raise InputError(f"{path}:{line} has {len(numbers)} columns; a map has {_COLUMNS}: a..l and its probability")
    return numbers


def read_csv(folder: Path) -> pa.Table:
    """Return the categories table, of `exfractal.SCHEMA`, of a folder with the files 000000.csv, 000001.csv, ...

    Raises
    ------
    InputError
        No such files, a number missing between them, a row that is not 13 numbers.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise InputError(
            f"`{folder}` holds no CSV; the published layout is one file per category: 000000.csv, 000001.csv, ..."
        )
    rows = []
    for category, path in enumerate(paths):
        if path.stem != f"{category:06}":
            raise InputError(f"`{path}` should be {category:06}.csv: categories are numbered from 000000 without gaps")
        with path.open(newline="") as file:
            maps = [_read_map(path, line, cells) for line, cells in enumerate(csv.reader(file), 1) if cells]
        rows.append(
            {
                "category": category,
                "attempt": None,
                "maps": [numbers[:N_COEFFICIENTS] for numbers in maps],
                "probability": [numbers[N_COEFFICIENTS] for numbers in maps],
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_csv(table: pa.Table, folder: Path) -> None:
    """Write a categories table as the published CSV files; reading them gives the same numbers to the last bit."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in table.to_pylist():
        with (folder / f"{row['category']:06}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [*map(repr, coefficients), repr(probability)]
                for coefficients, probability in zip(row["maps"], row["probability"], strict=True)
            )
