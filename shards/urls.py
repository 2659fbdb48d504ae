"""The shards of a dataset as webdataset takes them."""

from __future__ import annotations

import re
from pathlib import Path

from fdsl.primitives.errors import InputError
from shards.stores.places import open_store


def loader_urls(destination: Path | str, split: str = "train", base: str | None = None) -> str:
    """Return one URL of a split's shards.

    It has a range in braces, as webdataset takes it.

    Parameters
    ----------
    destination : where the shards are; see `ship`
    split : train or validation
    base : where loaders find the destination, such as http://HOST/FOLDER

    Raises
    ------
    InputError
        The place has no shard of this split, or misses one in between.
    """
    store = open_store(destination, "destination")
    names = {name for name in store.entries() if re.fullmatch(rf"{split}-\d{{6}}\.tar", name)}
    if not names:
        raise InputError(f"`destination` (={store.url}) has no shard of `split` (={split}); ship or bake one there")
    first, last = (int(name[-10:-4]) for name in (min(names), max(names)))
    if missing := {f"{split}-{number:06d}.tar" for number in range(first, last)} - names:
        raise InputError(
            f"`destination` (={store.url}) misses {min(missing)}; complete it by `fdsl ship` or `fdsl bake`"
        )
    pattern = f"{split}-{{{first:06d}..{last:06d}}}.tar"
    return store.loader_url(pattern) if base is None else f"{base.rstrip('/')}/{pattern}"
