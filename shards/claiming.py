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
from shards.files import HIDDEN, make_folder, write_file, write_table
from shards.layout import CATEGORIES, LOCK, RECEIPTS, SAMPLES, SPEC
from shards.manifest import Manifest, is_lost, manifest_yaml, read_manifest
from shards.stores.places import as_typed, is_url

Search = Callable[[Spec], pa.Table]
"""Finds the categories of a spec."""


def stored_manifest(path: Path, spec: Spec, dataset: Dataset | None) -> Manifest | None:
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
    if not (path / SPEC).exists() and not is_lost(path):
        _refuse_url(path)
        _refuse_foreign_files(path)
        return None
    manifest = read_manifest(path)
    manifest.require_current(path)
    differs = difference(manifest.spec.to_mapping(), spec.to_mapping())
    if not differs and dataset and dataset.categories_sha256 != manifest.categories_sha256:
        differs = "the categories differ"
    if differs:
        raise InputError(f"`out` (={path}) holds another dataset: {differs}; name another directory")
    return manifest


def _refuse_url(path: Path) -> None:
    """Refuse a URL, which would become a folder of that name."""
    if is_url(path):
        raise InputError(f"`out` (={as_typed(path)}) is a URL; name a directory on a disk")


def _refuse_foreign_files(path: Path) -> None:
    """Raise InputError if a directory without spec.yaml holds foreign files.

    Leftovers of an interrupted start are accepted.
    """
    for link in (path, *path.parents):
        if link.is_symlink() and not link.exists():
            raise InputError(
                f"`{link}` is a link to {link.readlink()}, which does not exist; create it or remove the link"
            )
    if path.exists() and not path.is_dir():
        raise InputError(f"`out` (={path}) is a file; name a new or empty directory")
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        is_empty_folder = entry.name in (SAMPLES, RECEIPTS) and not any(entry.iterdir())
        if not is_empty_folder and entry.name != LOCK and not HIDDEN.fullmatch(entry.name):
            raise InputError(
                f"`out` (={path}) holds other files ({entry.name}) and no {SPEC}; name a new or empty directory"
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
    path: Path, spec: Spec, given: Dataset | None, search: Search, replace_table: bool = False
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
        The directory holds another dataset, foreign files or a link, or was begun with other categories.
    """
    refuse_links(path)
    manifest = stored_manifest(path, spec, given)
    if manifest and not replace_table and (path / CATEGORIES).exists():
        return stored_directory(path, manifest)
    dataset = given or Dataset(spec, search(spec))
    if manifest and dataset.categories_sha256 != manifest.categories_sha256:
        raise InputError(
            f"`{path / CATEGORIES}` is missing or damaged, and a search finds other categories;"
            " pass the original table as `categories` (--categories-from)"
        )
    for folder in (path, path / SAMPLES, path / RECEIPTS):
        make_folder(folder)
    if manifest is None:
        _write_manifest(path, dataset)
    write_table(path / CATEGORIES, dataset.table)
    return Directory(path.absolute(), dataset)


def refuse_links(path: Path) -> None:
    """Raise InputError if a directory's folders are links.

    Files would be written, and deleted, where they point.
    """
    for folder in (path / SAMPLES, path / RECEIPTS):
        if folder.is_symlink():
            raise InputError(f"`{folder}` is a symbolic link; put a folder in its place")


def _write_manifest(path: Path, dataset: Dataset) -> None:
    """Write spec.yaml.

    Raises InputError if another process has just written that of another dataset.
    """
    try:
        write_file(path / SPEC, manifest_yaml(dataset), exclusive=True)
    except FileExistsError:
        stored_manifest(path, dataset.spec, dataset)


def categories_beside(source: str | Path) -> pa.Table | None:
    """Return the categories beside a baked spec.yaml, or None.

    None if `source` is a preset or a YAML file that no bake wrote.
    """
    path = Path(source)
    if path.name != SPEC or not path.is_file() or BAKED not in (read_yaml(path) or ()):
        return None
    try:
        manifest = read_manifest(path.parent)
        directory = stored_directory(path.parent, manifest)
    except InputError as error:
        raise InputError(
            f"`spec` (={path}) needs the categories beside it: {error}; or name the preset or YAML that it was baked from"
        ) from None
    manifest.require_current(path.parent)
    return directory.dataset.table
