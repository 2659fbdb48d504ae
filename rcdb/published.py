"""The authors' parameter files in CSV.

There is one file per category, with a line `key,value` per parameter. Its radius, aspect and centre are those of the
category's first image only, so they are neither read nor written.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa

from fdsl.primitives.csv_files import category_files, read_cells
from fdsl.primitives.errors import InputError
from rcdb.categories import SCHEMA, checked_shape
from rcdb.params import Params

CSV_NAME = "{:05}.csv"

_KEYS: dict[str, tuple[str, type[int] | type[float]]] = {
    "Vertex": ("vertices", int),
    "Perlin_noise": ("perlin", float),
    "line_width": ("gap", float),
    "Line_num": ("contours", int),
}
"""Column and type of each key that belongs to a category."""

_OF_THE_FIRST_IMAGE = ("Center_rad", "Oval_rate_x", "Oval_rate_y", "start_pos_h", "start_pos_w")


def _read_category(path: Path) -> dict[str, Any]:
    """Return the parameters in a file, by column.

    Raises InputError, naming the line or the key.
    """
    row: dict[str, Any] = {}
    for line, cells in read_cells(path):
        key, *values = (cell.strip() for cell in cells)
        if key in _OF_THE_FIRST_IMAGE:
            continue
        if key not in _KEYS or len(values) != 1:
            raise InputError(
                f"`{path}`: line {line} (={','.join(cells)[:80]!r}) must be KEY,VALUE; keys: {', '.join(_KEYS)}"
            )
        column, number = _KEYS[key]
        if column in row:
            raise InputError(f"`{path}`: line {line}: duplicate key {key}")
        try:
            row[column] = number(values[0])
        except ValueError:
            kind = "a whole number" if number is int else "a number"
            raise InputError(f"`{path}`: line {line}: {key} (={values[0][:80]}) must be {kind}") from None
    missing = [key for key, (column, _) in _KEYS.items() if column not in row]
    if missing:
        raise InputError(f"`{path}` lacks {', '.join(missing)}; each is a line KEY,VALUE")
    return row


def read_csv(folder: Path) -> pa.Table:
    """Return the categories in a folder of 00000.csv, 00001.csv, ...

    They fit the published label: vertices, contours, perlin, gap.

    Returns
    -------
    a table of SCHEMA

    Raises
    ------
    InputError
        No such files, a gap in their numbers, a wrong or missing line, or a value out of the limits of Params.
    """
    empty = dict.fromkeys(SCHEMA.names)
    rows = []
    for category, path in enumerate(category_files(folder, CSV_NAME)):
        row = {**empty, "category": category, **_read_category(path)}
        try:
            checked_shape(Params(), row)
        except InputError as error:
            raise InputError(f"`{path}`: {error}") from None
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_csv(table: pa.Table, folder: Path) -> None:
    """Write the authors' CSV files into an empty folder.

    Reading them gives the same numbers to the last bit.

    Raises
    ------
    InputError
        The table's label is not vertices, contours, perlin, gap.
    """
    columns = {column for column, _ in _KEYS.values()}
    for row in table.to_pylist():
        drawn = {name for name, value in row.items() if value is not None} - {"category", "attempt"}
        if drawn != columns:
            raise InputError(f"`label` (={sorted(drawn)}) must be {sorted(columns)} for the authors' CSV files; use -o")
        with (folder / CSV_NAME.format(row["category"])).open("w", newline="", encoding="ascii") as file:
            csv.writer(file).writerows((key, repr(row[column])) for key, (column, _) in _KEYS.items())
