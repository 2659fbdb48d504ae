"""Baking: evaluate the images of each shard that is missing, and pack them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from primitives.fields import Integer
from primitives.streams import Stream, domain
from shards.categories import check_columns, check_table, sample_categories, table_sha256
from shards.directory import (
    CATEGORIES,
    Directory,
    Receipt,
    create_directory,
    published,
    read_categories,
    refuse_other,
    restore_categories,
    write,
)
from shards.index import write_index
from shards.lock import locked
from shards.plan import Shard, plan_shards, samples_of, select_shards
from shards.png import encode, warm
from shards.spec import SPLITS, Spec
from shards.tar import TarWriter
from shards.workers import Progress, count_workers, in_parallel


@dataclass(frozen=True)
class Baked:
    """What a bake did.

    images, shards : made now, at `rate` images a second. shards_found : of those asked for, there already.
    shards_left : of the whole dataset, still to be baked; 0 if it is complete.
    """

    directory: Directory
    images: int
    shards: int
    shards_found: int
    shards_left: int
    rate: float


def stream_of(spec: Spec, category: int, instance: int) -> Stream:
    """Return the stream that names one image of a dataset."""
    role = SPLITS[spec.split_of(instance)]
    return Stream(spec.seed, domain(spec.rules.DOMAIN, role), category, instance)


def render(spec: Spec, table: pa.Table, category: int, instance: int) -> npt.NDArray[np.uint8]:
    """Return one image of a dataset, uint8 (size, size) grey; validation's instances are numbered after train's.

    Raises
    ------
    InputError
        The table is another family's or has no such category, or the spec no such instance.
    """
    Integer(0, len(table) - 1).check("category", category)
    Integer(0, spec.instances.train + spec.instances.validation - 1).check("instance", instance)
    check_columns(spec, table, "table")
    row = spec.rules.unpack(spec.parameters, table.slice(category, 1))[0]
    return spec.rules.render(spec.parameters, spec.size_px, row, stream_of(spec, category, instance))[0]


@lru_cache(maxsize=1)
def _categories(directory: Directory) -> Sequence[Any]:
    """Return a directory's categories, read and unpacked once in each process."""
    return directory.spec.rules.unpack(directory.spec.parameters, read_categories(directory))


def render_again(directory: Directory, category: int, instance: int) -> tuple[npt.NDArray[np.uint8], Any]:
    """Return an image of a baked directory, as `render` does, and what is drawn for it, from its spec and categories."""
    spec = directory.spec
    row = _categories(directory)[category]
    image, drawn = spec.rules.render(spec.parameters, spec.size_px, row, stream_of(spec, category, instance))
    return image, drawn


def _samples_table(spec: Spec, keys: list[str], category: Any, instance: Any, drawn: list[Any]) -> pa.Table:
    """Return what samples/*.parquet holds: one row per image, in the shard's order."""
    schema = spec.rules.DRAWN_SCHEMA
    columns = zip(schema, zip(*drawn, strict=True), strict=True)
    return pa.table(
        {
            "key": pa.array(keys),
            "category": pa.array(category, pa.int32()),
            "instance": pa.array(instance, pa.int32()),
            **{field.name: pa.array(values, field.type) for field, values in columns},
        }
    )


def bake_shard(directory: Directory, shard: Shard) -> Receipt:
    """Make one shard: its tar, then the parameters of its images, then its receipt."""
    spec = directory.spec
    rules, categories = spec.rules, _categories(directory)
    category, instance = samples_of(spec, shard)
    keys, drawn = [], []
    with published(directory.tar(shard)) as file:
        tar = TarWriter(file)
        names = list(zip(category.tolist(), instance.tolist(), strict=True))
        samples = ((categories[c], stream_of(spec, c, i)) for c, i in names)
        images = rules.render_each(spec.parameters, spec.size_px, samples)
        for (c, i), (image, what) in zip(names, images, strict=True):
            key = f"{c:06}_{i:06}"
            tar.add(f"{key}.png", encode(image, rules.BIT_DEPTH))
            tar.add(f"{key}.cls", b"%d" % c)
            keys.append(key)
            drawn.append(what)
        tar.close()
    table = io.BytesIO()
    pq.write_table(_samples_table(spec, keys, category, instance, drawn), table, compression="zstd")
    write(directory.samples(shard), table.getvalue())
    receipt = Receipt(
        shard=directory.tar(shard).name,
        split=shard.split,
        samples=shard.samples,
        bytes=tar.bytes,
        sha256=tar.sha256.hexdigest(),
        md5=tar.md5.hexdigest(),
        samples_sha256=hashlib.sha256(table.getbuffer()).hexdigest(),
        spec=directory.hash,
    )
    write(directory.receipt(shard), receipt.to_json().encode())
    return receipt


def prepare(spec: Spec, out: Path, table: pa.Table | None, workers: int | None, show: bool) -> Directory:
    """Return the directory of a dataset, made if it is new, with its checked categories given, or sampled if None."""
    there = refuse_other(out, spec, table and table_sha256(table))
    if there is not None and (out / CATEGORIES).exists():
        read_categories(there)
        return there
    out.mkdir(parents=True, exist_ok=True)
    table = sample_categories(spec, workers, show).table if table is None else table
    if there is None:
        return create_directory(out, spec, table)
    restore_categories(there, table)
    return there


def bake_shards(directory: Directory, shards: list[Shard], workers: int | None, show: bool, of: int) -> float:
    """Make shards on parallel workers; return the images a second. `of` is how many images the progress counts to."""
    n_workers, n_images = min(count_workers(workers), max(1, len(shards))), sum(shard.samples for shard in shards)
    directory.sweep()
    directory.spec.rules.warm()
    warm()
    try:
        with Progress(of, "images", directory.spec.name, show, found=of - n_images) as progress:
            tasks = ((directory, shard) for shard in shards)
            with in_parallel(bake_shard, tasks, n_workers) as receipts:
                for receipt in receipts:
                    progress.advance(receipt.samples)
            return progress.rate
    finally:
        directory.sweep()


def bake(
    spec: Spec,
    out: Path | str,
    *,
    table: pa.Table | None = None,
    workers: int | None = None,
    split: str = "all",
    window: str | None = None,
    show: bool = False,
) -> Baked:
    """Bake the missing shards of a dataset into a directory, and write its index once all are there.

    Parameters
    ----------
    table : the categories; sampled from the spec if None
    workers : processes, one per processor if None; the bytes made do not depend on it
    split, window : which shards, as in `select_shards`
    show : show the progress on standard error

    Raises
    ------
    InputError
        The directory holds something else, another process bakes one of the shards, or the categories do not fit the spec.
        Nothing was changed.
    WorkerDied
        A worker process ended. The shards baked so far are whole; calling again goes on.
    OSError
        The directory cannot be written, or its disk is full. The same holds.
    """
    out, plan, chosen = Path(out), plan_shards(spec), select_shards(spec, split, window)
    table = None if table is None else check_table(spec, table, "the categories table")
    refuse_other(out, spec, table and table_sha256(table))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, plan.index(chosen[0]), len(chosen)):
        directory = prepare(spec, out, table, workers, show)
        missing = [shard for shard in chosen if not directory.is_done(shard)]
        rate = bake_shards(directory, missing, workers, show, of=sum(shard.samples for shard in chosen))
        left = sum(not directory.is_done(shard) for shard in plan)
        if not left:
            write_index(directory)
    n_images = sum(shard.samples for shard in missing)
    return Baked(directory, n_images, len(missing), len(chosen) - len(missing), left, rate)
