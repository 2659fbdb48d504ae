"""The categories table: checked, hashed, read from Parquet."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa

from fdsl.dataset.families import FAMILIES
from fdsl.dataset.parquet import Unreadable, parse_parquet
from fdsl.dataset.spec import MAX_CATEGORIES, Spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded

_BATCH_ROWS = 1024
"""Rows held as Python objects at a time."""

_MAX_BYTES, _FILE_BYTES, _ROW_BYTES = 2**30, 2**20, 2**15
"""Limits of a file's size: of any file, without rows, and added per row."""

FAMILY_KEY = b"fdsl.family"
"""Key of the family's name in a table's metadata."""


def numbered(table: pa.Table, family: str) -> pa.Table:
    """Return a table whose `category` counts from 0.

    Its metadata names the family.
    """
    schema = FAMILIES[family].SCHEMA
    numbers = pa.array(range(table.num_rows), schema.field("category").type)
    table = table.select(schema.names).set_column(0, schema.field("category"), numbers).cast(schema)
    return table.replace_schema_metadata({FAMILY_KEY: family.encode()})


def check_table(spec: Spec, table: pa.Table, source: str) -> pa.Table:
    """Return the rows that a spec needs, in the family's SCHEMA.

    Values are checked when they are unpacked.

    Parameters
    ----------
    source : the table's name in messages

    Raises
    ------
    InputError
        Another family's table, a missing column, a wrong type, or too few rows.
    """
    _check_columns(spec, table, source)
    schema = spec.family_module.SCHEMA
    if table.num_rows < spec.categories:
        raise InputError(f"`{source}` has {table.num_rows} rows; the spec needs `categories` = {spec.categories}")
    try:
        table = table.slice(0, spec.categories).select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"`{source}` does not fit {spec.family}'s columns: {error}") from None
    if table.column("category").to_pylist() != list(range(spec.categories)):
        raise InputError(f"`{source}`: `category` must count 0, 1, 2, ... without gaps")
    return numbered(table, spec.family)


def _check_columns(spec: Spec, table: pa.Table, source: str) -> None:
    """Raise InputError on another family's table or wrong columns."""
    family = (table.schema.metadata or {}).get(FAMILY_KEY, spec.family.encode()).decode(errors="replace")
    if family != spec.family:
        raise InputError(f"`{source}` holds categories of {family}; the spec's family is {spec.family}")
    names = spec.family_module.SCHEMA.names
    for name in names:
        n_columns = table.column_names.count(name)
        if n_columns != 1:
            count = f"{n_columns} columns" if n_columns else "no column"
            raise InputError(f"`{source}` has {count} `{name}`; {spec.family} needs {', '.join(names)}")


def read_table(path: Path | str, n_rows: int = MAX_CATEGORIES) -> pa.Table:
    """Return the table in a Parquet file.

    Parameters
    ----------
    n_rows : largest number of rows that is accepted

    Raises
    ------
    InputError
        It cannot be read, or has more rows.
    """
    path = Path(path)
    try:
        content = read_bounded(path, max_table_bytes(n_rows))
    except FileNotFoundError:
        raise InputError(f"`{path}` does not exist; make it with `fdsl sample SPEC -o {path}`") from None
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}") from None
    return parse_table(content, str(path), n_rows)


def max_table_bytes(n_rows: int) -> int:
    """Return a generous limit of a table's size, bytes."""
    return min(_MAX_BYTES, _FILE_BYTES + _ROW_BYTES * n_rows)


def parse_table(content: bytes, source: str, n_rows: int) -> pa.Table:
    """Return the table in the content of a Parquet file.

    Parameters
    ----------
    source : the file's name in messages
    n_rows : largest number of rows that is accepted

    Raises
    ------
    InputError
        It is not Parquet, or has more rows.
    """
    try:
        return parse_parquet(content, n_rows)
    except Unreadable as error:
        raise InputError(f"`{source}` {error}") from None


def table_sha256(table: pa.Table) -> str:
    """Return the SHA-256 of a table's columns and values.

    It does not depend on the file that held them.
    """
    sha256 = hashlib.sha256(json.dumps(table.column_names).encode())
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        for row in batch.to_pylist():
            sha256.update(json.dumps(list(row.values())).encode())
    return sha256.hexdigest()
