"""Guards numba's cache of compiled kernels against torn files.

A power loss can leave files empty or cut, which numba does not expect.
"""

from __future__ import annotations

from typing import Any

from numba.core.caching import IndexDataCacheFile

from fdsl.primitives.errors import InputError

_load_index, _load_data, _save = (getattr(IndexDataCacheFile, name) for name in ("_load_index", "_load_data", "save"))


def guard() -> None:
    """Compile a kernel again if its cached file is torn.

    Applies to all kernels of this process. A kernel that cannot be saved raises InputError, which names the folder.
    """
    methods = {"_load_index": _index_or_empty, "_load_data": _kernel_or_miss, "save": _save_or_name_folder}
    for name, method in methods.items():
        setattr(IndexDataCacheFile, name, method)


def _index_or_empty(cache: IndexDataCacheFile) -> Any:
    """Return the index of a kernel's files; empty if it is torn."""
    try:
        return _load_index(cache)
    except OSError:
        raise
    except Exception:  # unpickling garbage can raise any exception
        return {}


def _kernel_or_miss(cache: IndexDataCacheFile, name: str) -> Any:
    """Return a compiled kernel.

    Raises OSError if the file is torn; numba then compiles, as if the file were missing.
    """
    try:
        return _load_data(cache, name)
    except Exception as error:
        raise OSError(f"{name} is torn") from error


def _save_or_name_folder(cache: IndexDataCacheFile, key: Any, data: Any) -> None:
    try:
        _save(cache, key, data)
    except OSError as error:
        raise InputError(
            f"`{cache._cache_path}`: {error.strerror}: compiled kernels cannot be saved;"
            " make room, or set NUMBA_CACHE_DIR to a folder that only you can write"
        ) from None
