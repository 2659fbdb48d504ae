"""Guards numba's cache of compiled kernels against torn files.

A power loss can leave files empty, cut, or with zeros inside. numba would fail on them, or run what is left of a kernel. So
each file gets a hash at its end, which numba's own reader ignores.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba.core.caching import IndexDataCacheFile

from fdsl.primitives.errors import InputError

_load_index, _load_data, _open_for_write, _save = (
    getattr(IndexDataCacheFile, name) for name in ("_load_index", "_load_data", "_open_for_write", "save")
)
_HASH_BYTES = 32


def guard() -> None:
    """Compile a kernel again if its cached file is torn.

    Applies to all kernels of this process. A kernel that cannot be saved raises InputError, which names the folder.
    """
    methods = {
        "_load_index": _index_or_empty,
        "_load_data": _kernel_or_miss,
        "_open_for_write": _hashed,
        "save": _save_or_name_folder,
    }
    for name, method in methods.items():
        setattr(IndexDataCacheFile, name, method)


@contextmanager
def _hashed(cache: IndexDataCacheFile, path: str) -> Iterator[io.BytesIO]:
    """Open a file for writing; append the hash of its content."""
    content = io.BytesIO()
    with _open_for_write(cache, path) as file:
        yield content
        file.write(content.getvalue() + sha256(content.getbuffer()).digest())


def _is_whole(path: Path) -> bool:
    """Return whether a file exists and ends with its hash."""
    try:
        with path.open("rb") as file:
            content = file.read()
    except FileNotFoundError:
        return False
    return sha256(content[:-_HASH_BYTES]).digest() == content[-_HASH_BYTES:]


def _index_or_empty(cache: IndexDataCacheFile) -> Any:
    """Return the index of a kernel's files; empty if it is torn."""
    return _load_index(cache) if _is_whole(Path(cache._index_path)) else {}


def _kernel_or_miss(cache: IndexDataCacheFile, name: str) -> Any:
    """Return a compiled kernel.

    Raises OSError if the file is torn; numba then compiles, as if the file were missing.
    """
    if not _is_whole(Path(cache._cache_path, name)):
        raise OSError(f"{name} is torn")
    return _load_data(cache, name)


def _save_or_name_folder(cache: IndexDataCacheFile, key: Any, data: Any) -> None:
    try:
        _save(cache, key, data)
    except OSError as error:
        raise InputError(
            f"`{cache._cache_path}`: {error.strerror}: compiled kernels cannot be saved;"
            " make room, or set NUMBA_CACHE_DIR to a folder that only you can write"
        ) from None
