"""Claiming: prepares a directory to bake into.

Decides which categories a bake uses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from fdsl.dataset.categories import read_table
from fdsl.dataset.dataset import Dataset
from fdsl.dataset.sources import read_yaml
from fdsl.dataset.spec import BAKED, Spec, difference
from fdsl.primitives.errors import InputError
from shards.directory import Directory, stored_directory
from shards.files import parquet_bytes
from shards.layout import CATEGORIES, LOCK, RECEIPTS, SAMPLES, SPEC
from shards.manifest import Manifest, is_lost, manifest_yaml, read_manifest
from shards.stores.contract import Store, write_content
from shards.stores.folder import Folder

Search = Callable[[Spec], pa.Table]
"""Finds the categories of a spec."""


def stored_manifest(store: Store, spec: Spec, dataset: Dataset | None) -> Manifest | None:
    """Return the manifest of a directory to bake into.

    None if the directory is new or empty.

    Parameters
    ----------
    dataset : what will be baked, if its categories are known already

    Raises
    ------
    InputError
        The directory holds another dataset (the message names the field that differs) or foreign files.
    """
    if store.stat(SPEC) is None and not is_lost(store):
        try:
            _refuse_foreign_files(store)
        except InputError:
            if store.stat(SPEC) is None:  # else another bake has just begun
                raise
        else:
            return None
    manifest = read_manifest(store)
    manifest.require_current(store)
    if manifest.spec.replace(license=spec.license) == spec != manifest.spec:
        raise InputError(
            f"`license` (={spec.license}) is {manifest.spec.license} in {store.locate(SPEC)}; edit it there, as no image"
            " depends on it"
        )
    differs = difference(manifest.spec.to_mapping(), spec.to_mapping())
    if not differs and dataset and dataset.categories_sha256 != manifest.categories_sha256:
        differs = "the categories differ"
    if differs:
        raise InputError(f"`out` (={store.url}) holds another dataset: {differs}; name another directory")
    return manifest


def _refuse_foreign_files(store: Store) -> None:
    """Raise InputError if a directory without spec.yaml holds foreign files.

    Leftovers of an interrupted start are accepted.
    """
    for name in sorted(store.entries()):
        is_empty_folder = name in (f"{SAMPLES}/", f"{RECEIPTS}/") and not store.entries(name.rstrip("/"))
        if not is_empty_folder and name != LOCK:
            raise InputError(
                f"`out` (={store.url}) holds other files ({name.rstrip('/')}) and no {SPEC}; name a new or empty directory"
            )


def given_dataset(spec: Spec, categories: pa.Table | Path | str | None) -> Dataset | None:
    """Return the dataset of the argument `categories`; None if it is None.

    Raises InputError, naming the file or the argument.
    """
    if categories is None:
        return None
    if isinstance(categories, str | os.PathLike):
        return Dataset(spec, read_table(Path(categories)), str(categories))
    return Dataset(spec, categories, "categories")


def claim_directory(
    store: Store, spec: Spec, given: Dataset | None, search: Search, replace_table: bool = False
) -> Directory:
    """Prepare a directory to bake a spec into.

    Writes spec.yaml and the categories table if they are missing. The categories are those given, else those of the
    directory, else those that a search finds.

    Parameters
    ----------
    given : the dataset of the categories that the user gave
    search : finds the spec's categories
    replace_table : ignore the directory's table and write it again

    Raises
    ------
    InputError
        The directory holds another dataset or foreign files, or was begun with other categories.
    """
    manifest = stored_manifest(store, spec, given)
    if manifest and not replace_table and store.stat(CATEGORIES) is not None:
        return stored_directory(store, manifest)
    dataset = given or Dataset(spec, search(spec))
    if manifest and dataset.categories_sha256 != manifest.categories_sha256:
        raise InputError(
            f"`{store.locate(CATEGORIES)}` is missing or damaged, and a search finds other categories;"
            " pass the original table as `categories` (--categories-from)"
        )
    if manifest is None:
        _write_manifest(store, dataset)
    write_content(store, CATEGORIES, parquet_bytes(dataset.table))
    return Directory(store, dataset)


def _write_manifest(store: Store, dataset: Dataset) -> None:
    """Write spec.yaml.

    Raises InputError if another process has just written that of another dataset.
    """
    try:
        write_content(store, SPEC, manifest_yaml(dataset), exclusive=True)
    except FileExistsError:
        stored_manifest(store, dataset.spec, dataset)


def categories_beside(source: str | Path) -> pa.Table | None:
    """Return the categories beside a baked spec.yaml, or None.

    None if `source` is a preset or a YAML file that no bake wrote.
    """
    path = Path(source)
    if path.name != SPEC or not path.is_file() or BAKED not in (read_yaml(path) or ()):
        return None
    try:
        store = Folder(path.parent)
        manifest = read_manifest(store)
        directory = stored_directory(store, manifest)
    except InputError as error:
        raise InputError(
            f"`spec` (={path}) needs the categories beside it: {error}; or name the preset or YAML that it was baked from"
        ) from None
    manifest.require_current(store)
    return directory.dataset.table
