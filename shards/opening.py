"""Opening a dataset to render it when asked, without baking it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from fdsl.dataset.categories import max_table_bytes, parse_table, read_table
from fdsl.dataset.dataset import Dataset
from fdsl.dataset.live import LiveDataset
from fdsl.dataset.sources import load_spec, presets
from fdsl.dataset.spec import FORMAT, Spec
from fdsl.primitives.errors import InputError
from fdsl.primitives.reading import read_bounded
from shards.claiming import categories_beside, given_dataset
from shards.directory import Directory, open_directory
from shards.events import Listener, ignore
from shards.executors.signals import uninterrupted
from shards.files import parquet_bytes, write_file
from shards.searching import search_categories
from shards.stores.places import is_url


def open(
    spec: Spec | str | Path,
    split: str = "train",
    *,
    epoch: int = 0,
    targets: Sequence[str] = (),
    views: int = 1,
    categories: pa.Table | Path | str | None = None,
) -> LiveDataset:
    """Open a split to render its images when asked.

    Parameters
    ----------
    spec : name of a preset, path of a YAML file, a baked directory or its URL, or a Spec
    split : train or validation
    epoch, targets, views : see LiveDataset
    categories : see `open_dataset`

    Raises
    ------
    InputError
        An argument is wrong, or nothing is there.
    """
    dataset = open_dataset(spec, categories)
    with uninterrupted():
        dataset.spec.family_module.compile_kernels()  # before a loader starts workers, which would each compile them
    return LiveDataset(dataset, split, epoch, targets, views)


def open_dataset(
    source: Spec | str | Path, categories: pa.Table | Path | str | None = None, listener: Listener = ignore
) -> Dataset:
    """Return the Dataset of a spec or of a baked directory.

    Parameters
    ----------
    source : see `open`
    categories : table or its Parquet file; by default those of the directory, else those of an earlier search in the user's
        cache, else those that a search finds
    listener : called with each event of a search

    Raises
    ------
    InputError
        The spec, the directory or the categories are wrong, or the directory has an older format.
    """
    if isinstance(source, Spec):
        return given_dataset(source, categories) or Dataset(source, find_categories(source, listener))
    if directory := baked_directory(source):
        return given_dataset(directory.spec, categories) or directory.dataset
    spec = load_spec(source)
    if categories is None:
        categories = categories_beside(source)
    return given_dataset(spec, categories) or Dataset(spec, find_categories(spec, listener))


def open_some(
    source: str | Path, select: Callable[[int], list[int]], categories: Path | None = None, listener: Listener = ignore
) -> tuple[Dataset, list[int]]:
    """Return a Dataset that has some categories, and their numbers.

    Without a table, no more categories are searched than needed. So the Dataset may have fewer than its spec.

    Parameters
    ----------
    source : name of a preset, path of a YAML file, a baked directory or its URL
    select : returns the categories, of so many that there are
    categories : path of a table
    listener : called with each event of a search

    Raises
    ------
    InputError
        The spec, the directory, the categories or the selection are wrong.
    """
    directory = baked_directory(source)
    spec = load_spec(source) if directory is None else directory.spec
    if categories is not None:
        table = read_table(categories)
    else:
        table = categories_beside(source) if directory is None else directory.dataset.table
    n_rows = spec.categories if table is None else max(1, min(spec.categories, table.num_rows))
    chosen = select(n_rows)
    some = spec.replace(categories=max(chosen) + 1)
    if table is None:
        table = search_categories(some, listener=listener).table
    return Dataset(some, table, str(categories or source)), chosen


def baked_directory(source: str | Path) -> Directory | None:
    """Return a baked directory; None if `source` names a spec.

    Raises
    ------
    InputError
        It is a directory or a URL that holds no dataset, or one of an older format.
    """
    is_path = isinstance(source, str | os.PathLike) and str(source) not in presets()
    if not is_path or not (is_url(source) or Path(source).is_dir()):
        return None
    directory = open_directory(source)
    if directory.dataset.older_hash is not None:
        raise InputError(f"`spec` (={source}) has an older format, which cannot be rendered; open its preset or YAML")
    return directory


def find_categories(spec: Spec, listener: Listener = ignore) -> pa.Table:
    """Return the categories of a spec, cached or searched.

    A cached table is named after what decides it and after the SHA-256 of its content. A damaged one is searched again.
    Without a cache that can be written, each call searches.

    Raises
    ------
    InputError
        `spec.params` accept too few candidates.
    """
    mapping = spec.to_mapping()
    decisive = [FORMAT, *(mapping[name] for name in ("family", "categories", "seed", "params"))]
    name = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    table = next(_cached(name, spec.categories), None)
    if table is None:
        table = search_categories(spec, listener=listener).table
        content = parquet_bytes(table)
        with suppress(OSError, RuntimeError, InputError):
            write_file(_cache_folder() / f"{name}-{hashlib.sha256(content).hexdigest()}.parquet", content)
    return table


def _cached(name: str, n_rows: int) -> Iterator[pa.Table]:
    """Yield the whole tables of a name in the cache."""
    with suppress(OSError, RuntimeError, InputError):
        for path in _cache_folder().glob(f"{name}-*.parquet"):
            content = read_bounded(path, max_table_bytes(n_rows))
            if path.stem == f"{name}-{hashlib.sha256(content).hexdigest()}":
                yield parse_table(content, str(path), n_rows)


def _cache_folder() -> Path:
    """Return the folder of cached tables.

    Raises RuntimeError if the user has no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "fdsl"
