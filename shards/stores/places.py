"""Opens the store that a path or URL names."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path

from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import shown
from shards.stores.contract import Store
from shards.stores.folder import Folder

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_MISTYPED = re.compile(r"(s3|ssh):(?!/)", re.IGNORECASE)
_REMOTE = {"s3": ("shards.stores.s3", "Bucket"), "ssh": ("shards.stores.ssh", "Host")}
"""Module and class of each URL's scheme; imported when used."""


def is_url(place: Path | str) -> bool:
    """Return whether a place is a URL.

    Its scheme may be unknown.
    """
    return _SCHEME.match(str(place)) is not None and not Path(place).exists()


def as_typed(place: Path | str) -> str:
    """Return a URL with both its slashes.

    A `Path` keeps one.
    """
    return re.sub(":/+", "://", str(place), count=1)


def open_store(place: Path | str, name: str = "out") -> Store:
    """Return the store that a path or URL names; reads nothing.

    Parameters
    ----------
    place : a folder, s3://BUCKET/FOLDER or ssh://USER@HOST:PORT/FOLDER
    name : what messages call it

    Raises
    ------
    InputError
        It is neither a path nor a URL, or is empty. The URL's scheme is unknown, the URL is wrong, or a package for it is
        missing.
    """
    if not isinstance(place, str | os.PathLike) or not str(place):
        raise InputError(f"`{name}` (={shown(place)}) must be a folder or a URL; `.` is the working directory")
    if not is_url(place):
        if _MISTYPED.match(str(place)) and not Path(place).exists():
            raise InputError(f"`{name}` (={place}) must be s3://BUCKET/FOLDER or ssh://HOST/FOLDER; or name ./{place}")
        return Folder(Path(place))
    url = as_typed(place)
    scheme = url.partition(":")[0].lower()
    if scheme not in _REMOTE:
        raise InputError(f"`{name}` (={url}): {scheme}:// is not supported; name a folder, an s3:// or an ssh:// URL")
    module, opener = _REMOTE[scheme]
    store: Store = getattr(import_module(module), opener).of_url(url, name)
    return store
