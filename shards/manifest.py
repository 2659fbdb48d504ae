"""spec.yaml of a baked directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.sources import MAX_YAML_BYTES, parse_yaml
from fdsl.dataset.spec import BAKED, FORMAT, OLDER_FORMATS, Spec, difference, hash_of_format, parse_spec
from fdsl.primitives.errors import InputError, one_line
from fdsl.version import VERSION, made_with
from shards.layout import RECEIPTS, SPEC
from shards.stores.contract import Store

MADE_WITH = "made_with"
"""Key of the versions that began the bake."""

_RESTORE = "restore it: `fdsl bake SPEC -o NEW --shards 0:1` with the same SPEC writes it into NEW; copy it from there"


@dataclass(frozen=True)
class Manifest:
    """Content of spec.yaml.

    Attributes
    ----------
    spec : Spec
    categories_sha256 : hash of the categories table
    hash : identity of the dataset
    format : format of the dataset
    made_with : versions that began the bake, by name
    """

    spec: Spec
    categories_sha256: str
    hash: str
    format: int
    made_with: Any

    def other_versions(self) -> str | None:
        """Return the first difference from the installed versions, or None."""
        differs = difference(self.made_with, made_with(), MADE_WITH)
        return one_line(differs) if differs else None

    def require_current(self, store: Store) -> None:
        """Raise InputError if the dataset has an older format.

        Its images can be checked against their receipts, but not rendered again.
        """
        if self.format != FORMAT:
            raise InputError(
                f"`{store.url}` has format {self.format}, whose images this fdsl does not render (it renders format"
                f" {FORMAT}); it can be verified without `rerender`; bake the same SPEC into a new directory"
            )


def manifest_yaml(dataset: Dataset) -> bytes:
    """Return the content of a new spec.yaml."""
    baked = {
        "fdsl": VERSION,
        "format": FORMAT,
        "categories_sha256": dataset.categories_sha256,
        "hash": dataset.hash,
        MADE_WITH: made_with(),
    }
    return yaml.safe_dump({**dataset.spec.to_mapping(), BAKED: baked}, sort_keys=False).encode()


def read_manifest(store: Store) -> Manifest:
    """Return the manifest of a baked directory.

    Raises
    ------
    InputError
        The store holds no dataset, or its spec.yaml was edited.
    """
    path = store.locate(SPEC)
    _require_manifest(store)
    try:
        mapping = parse_yaml(store.read(SPEC, MAX_YAML_BYTES), path)
    except InputError as error:
        raise InputError(f"{error}; {_RESTORE}") from None
    baked = mapping.get(BAKED) if isinstance(mapping, dict) else None
    if not isinstance(baked, dict) or not isinstance(baked.get("categories_sha256"), str):
        raise InputError(f"`{path}` lacks the key `{BAKED}` that a bake writes, so it was edited; {_RESTORE}")
    try:
        spec = parse_spec(mapping)
    except InputError as error:
        raise InputError(f"`{path}`: {error}") from None
    number = baked.get("format")
    if number not in (FORMAT, *OLDER_FORMATS):
        raise InputError(
            f"`{store.url}` has format {number} of fdsl {baked.get('fdsl')}; this fdsl reads formats up to {FORMAT}"
        )
    stored = {key: value for key, value in mapping.items() if key != BAKED}
    own_hash = hash_of_format(number, spec.to_mapping() if number == FORMAT else stored, baked["categories_sha256"])
    if baked.get("hash") != own_hash:
        raise InputError(
            f"`{path}` was edited: its hash is {baked.get('hash')}, but its content gives {own_hash}; {_RESTORE}"
        )
    return Manifest(spec, baked["categories_sha256"], own_hash, number, baked.get(MADE_WITH))


def _require_manifest(store: Store) -> None:
    """Raise InputError if a store has no spec.yaml."""
    if store.stat(SPEC) is not None:
        return
    if is_lost(store):
        raise InputError(f"`out` (={store.url}) has lost its {SPEC}; {_RESTORE}")
    raise InputError(
        f"`out` (={store.url}) holds no {SPEC}: not a baked dataset; bake one with `fdsl bake SPEC -o {store.url}`"
    )


def is_lost(store: Store) -> bool:
    """Return whether a baked directory has lost its spec.yaml."""
    return store.stat(SPEC) is None and any(name.endswith(".json") for name in store.entries(RECEIPTS))
