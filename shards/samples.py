"""The samples table of a shard: one row per image, in order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fdsl.dataset.parquet import Unreadable, parse_parquet
from fdsl.dataset.plan import Shard, image_key
from fdsl.dataset.spec import Spec
from fdsl.primitives.errors import InputError
from shards.directory import Directory
from shards.layout import samples_file

_KEYS = pa.schema([("key", pa.string()), ("category", pa.int32()), ("instance", pa.int32())])
_FILE_BYTES, _ROW_BYTES = 2**20, 2**10


def max_bytes(n_images: int) -> int:
    """Return a generous limit of a samples table's size, bytes."""
    return _FILE_BYTES + _ROW_BYTES * n_images


def _key_columns(names: list[tuple[int, int]]) -> list[list[Any]]:
    """Return key, category and instance of each image."""
    category, instance = zip(*names, strict=True)
    return [[image_key(*name) for name in names], list(category), list(instance)]


def _schema(spec: Spec) -> pa.Schema:
    return pa.schema([*_KEYS, *spec.family_module.VARIANT_SCHEMA])


def samples_table(spec: Spec, names: list[tuple[int, int]], variants: list[tuple[Any, ...]]) -> pa.Table:
    """Return the samples table of some images and their variants."""
    return pa.table([*_key_columns(names), *zip(*variants, strict=True)], schema=_schema(spec))


def table_problem(
    content: bytes, spec: Spec, names: list[tuple[int, int]], variants: Mapping[int, tuple[Any, ...]]
) -> str | None:
    """Return what is wrong with a samples file, or None.

    Parameters
    ----------
    names : the (category, instance) of each image
    variants : variant of each image that was rendered again, by its position

    Raises
    ------
    Unreadable
        It is not a Parquet file, or too large when decoded.
    """
    table, schema = parse_parquet(content, len(names)), _schema(spec)
    for field in schema:
        if table.column_names.count(field.name) != 1:
            return f"`{field.name}` is missing or a duplicate"
    if not table.schema.equals(schema, check_metadata=True):
        return f"its columns are not those that a bake writes: {_first_difference(table.schema, schema)}"
    if set(pq.read_metadata(pa.BufferReader(content)).metadata or ()) != {b"ARROW:schema"}:
        return "its metadata is not what a bake writes"
    for name, values in zip(_KEYS.names, _key_columns(names), strict=True):
        if table.column(name).to_pylist() != values:
            return f"`{name}` differs from the plan"
    for name in schema.names:
        if table.column(name).null_count:
            return f"`{name}` has empty cells"
    for k, variant in variants.items():
        if tuple(table.slice(k, 1).to_pylist()[0].values())[len(_KEYS) :] != tuple(variant):
            return f"the row of {image_key(*names[k])} is not what the spec draws for this image"
    return None


def read_samples(directory: Directory, shard: Shard) -> pa.Table:
    """Return the samples table of a shard.

    Raises
    ------
    InputError
        It is missing, unreadable, or has other columns or another number of rows than a bake writes.
    """
    name = samples_file(shard)
    advice = f"`fdsl verify {shlex.quote(directory.store.url)}` lists what is wrong"
    try:
        table = parse_parquet(directory.store.read(name, max_bytes(shard.n_samples)), shard.n_samples)
    except FileNotFoundError:
        raise InputError(f"`{directory.store.locate(name)}` is missing; {advice}") from None
    except Unreadable as error:
        raise InputError(f"`{directory.store.locate(name)}` {error}; {advice}") from None
    if not table.schema.equals(_schema(directory.spec)) or table.num_rows != shard.n_samples:
        raise InputError(f"`{directory.store.locate(name)}` is not what a bake writes; {advice}")
    return table


def _first_difference(found: pa.Schema, expected: pa.Schema) -> str:
    """Return the first field or the metadata in which a schema differs."""
    for number, field in enumerate(found):
        if number >= len(expected) or not field.equals(expected.field(number), check_metadata=True):
            return f"`{field.name}` ({field.type}) is column {number}"
    return "it has metadata"
