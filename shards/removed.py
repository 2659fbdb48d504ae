"""Shards that were shipped, then removed here.

Their receipts stay, and the file `shipped.txt` names the place that has their files.
"""

from __future__ import annotations

import shlex
from collections.abc import Container

from fdsl.dataset.plan import Shard
from fdsl.primitives.errors import InputError
from shards.layout import SHIPPED, shard_files
from shards.stores.contract import Store, write_content

_MAX_BYTES = 2**12


def is_removed(shard: Shard, entries: Container[str]) -> bool:
    """Return whether a shard has a receipt here, and its files elsewhere.

    Parameters
    ----------
    entries : names of the files that are here
    """
    tar, samples, receipt = shard_files(shard)
    return SHIPPED in entries and receipt in entries and not (tar in entries and samples in entries)


def removed_to(store: Store) -> str:
    """Return the place that has the files of removed shards.

    Raises
    ------
    InputError
        The file that names it is damaged.
    """
    try:
        place = store.read(SHIPPED, _MAX_BYTES).decode().strip()
    except UnicodeDecodeError:
        place = ""
    if not place:
        raise InputError(f"`{store.locate(SHIPPED)}` must name the place that shards were shipped to; write it there")
    return place


def removed_note(place: str, n_shards: int) -> str:
    """Return a line on shards whose files are only elsewhere."""
    return f"{n_shards:,} shards are only at {place}; `fdsl verify {shlex.quote(place)}` checks them"


def write_removed_to(store: Store, place: str) -> None:
    """Note where shards are, before the first is removed."""
    write_content(store, SHIPPED, f"{place}\n".encode())
