"""The categories table of a dataset: searched in parallel, read, checked and hashed."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from primitives.fields import InputError
from shards.families import family, published_csv
from shards.spec import Spec
from shards.workers import Progress, count_workers, in_parallel

_CHUNK = 256
"""Attempts a task: a worker's answer within tens of milliseconds."""

_BATCH = 1024
"""Rows that stand in memory as Python objects at a time."""

_PATIENCE = 1024 * _CHUNK
"""Candidates that are tried for one category, on average, before the search is given up."""

_FAMILY = b"fdsl.family"


@dataclass(frozen=True)
class Sampled:
    """A categories table and what it took to find it.

    table : the family's SCHEMA, one row per category.
    tried : candidates up to and including the last accepted one.
    """

    table: pa.Table
    tried: int

    @property
    def acceptance(self) -> float:
        """The share of candidates that became categories, 0..1."""
        return len(self.table) / self.tried


def _sample_chunk(family_name: str, params: Any, seed: int, attempts: range) -> pa.Table:
    return family(family_name).sample(params, seed, attempts)


def _distinct(table: pa.Table, seen: set[str]) -> list[int]:
    """Return the rows whose parameters none before has, and remember them in `seen`."""
    rows = []
    for k, row in enumerate(table.drop_columns(["category", "attempt"]).to_pylist()):
        text = json.dumps(row)
        if text not in seen:
            seen.add(text)
            rows.append(k)
    return rows


def sample_categories(spec: Spec, workers: int | None = 1, show: bool = False) -> Sampled:
    """Return the first `spec.categories` different categories in the order of their attempts.

    The result does not depend on the number of workers (None: one per processor). `show` shows the progress.
    """
    wanted, n_workers = spec.categories, count_workers(workers)
    seen: set[str] = set()
    parts: list[pa.Table] = []
    n_found = n_tried = 0
    spec.rules.warm()
    chunks = (range(first, first + _CHUNK) for first in itertools.count(0, _CHUNK))
    tasks = ((spec.family, spec.parameters, spec.seed, attempts) for attempts in chunks)
    with (
        Progress(wanted, "categories", spec.name, show) as progress,
        in_parallel(_sample_chunk, tasks, n_workers, ordered=True) as results,
    ):
        while n_found < wanted:
            part = next(results)
            rows = _distinct(part, seen)[: wanted - n_found]
            parts.append(part.take(pa.array(rows, pa.int64())))
            n_found += len(rows)
            n_tried += _CHUNK
            progress.advance(len(rows))
            if n_tried >= _PATIENCE * (n_found + 1):
                raise InputError(
                    f"`params` accept {n_found} of {n_tried:,} candidates, too few for {wanted:,} `categories`: ease them"
                    " (exfractal's `variance_threshold`)"
                )
    table = pa.concat_tables(parts)
    return Sampled(_numbered(table, spec.family), table.column("attempt")[-1].as_py() + 1)


def _numbered(table: pa.Table, family_name: str) -> pa.Table:
    schema = family(family_name).SCHEMA
    numbers = pa.array(range(table.num_rows), schema.field("category").type)
    table = table.select(schema.names).set_column(0, schema.field("category"), numbers).cast(schema)
    return table.replace_schema_metadata({_FAMILY: family_name.encode()})


def check_table(spec: Spec, table: pa.Table, source: str) -> pa.Table:
    """Return the rows of a table that a spec needs, checked to be categories of its family.

    Raises
    ------
    InputError
        Another family's table, a column missing or of another type, fewer rows than categories, a row out of range.
    """
    check_columns(spec, table, source)
    schema = spec.rules.SCHEMA
    if table.num_rows < spec.categories:
        raise InputError(f"`{source}` has {table.num_rows} rows; the spec needs `categories` = {spec.categories}")
    try:
        table = table.slice(0, spec.categories).select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"`{source}` does not fit {spec.family}'s columns: {error}") from None
    if table.column("category").to_pylist() != list(range(spec.categories)):
        raise InputError(f"`{source}`: `category` must count 0, 1, 2, ... without gaps")
    try:
        spec.rules.unpack(spec.parameters, table)
    except InputError as error:
        raise InputError(f"`{source}`: {error}") from None
    return _numbered(table, spec.family)


def check_columns(spec: Spec, table: pa.Table, source: str) -> None:
    """Raise InputError if a table is another family's or lacks one of its columns."""
    named = (table.schema.metadata or {}).get(_FAMILY, spec.family.encode()).decode(errors="replace")
    if named != spec.family:
        raise InputError(f"`{source}` holds categories of {named}; the spec's family is {spec.family}")
    for field in spec.rules.SCHEMA:
        if table.column_names.count(field.name) != 1:
            how = "no" if field.name not in table.column_names else "more than one"
            raise InputError(
                f"`{source}` has {how} column `{field.name}`; {spec.family} needs {', '.join(spec.rules.SCHEMA.names)}"
            )


def read_parquet(content: bytes) -> pa.Table:
    """Return the table in a Parquet file's bytes.

    Read so, no thread is started. One that still ends while the process does can abort it.
    """
    return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)


def read_table(spec: Spec, path: Path) -> pa.Table:
    """Return the categories that a Parquet file holds for a spec; InputError says what is wrong with it."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"`{path}` is no regular file; remove it")
        table = read_parquet(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"`{path}` does not exist; make it with `fdsl sample SPEC -o {path}`") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"`{path}` is not a Parquet file that can be read: {error}") from None
    return check_table(spec, table, str(path))


def table_sha256(table: pa.Table) -> str:
    """Return the hash of a table's columns and numbers, 64 hexadecimal digits, whatever file they came from."""
    sha256 = hashlib.sha256(json.dumps(table.column_names).encode())
    for batch in table.to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist():
            sha256.update(json.dumps(list(row.values())).encode())
    return sha256.hexdigest()


def export_csv(table: pa.Table, folder: Path) -> None:
    """Write a categories table as the published CSV files, if the family has such."""
    published_csv(table.schema.metadata[_FAMILY].decode()).write_csv(table, folder)


def import_csv(family_name: str, folder: Path) -> pa.Table:
    """Return the categories table that a folder of the published CSV files holds."""
    return _numbered(published_csv(family_name).read_csv(folder), family_name)
