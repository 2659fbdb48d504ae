"""Versions of the toolkit and of packages that affect its output."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version

VERSION = version("fdsl")

_PACKAGES = ("numba", "llvmlite", "numpy", "isal", "pyarrow")
"""Packages that affect pixels or bytes."""


@cache
def _package_versions() -> dict[str, str]:
    """Return the versions of packages, read once.

    Reading takes a millisecond, and each verification compares them.
    """
    return {name: version(name) for name in _PACKAGES}


def made_with() -> dict[str, str]:
    """Return the versions in use here: Python, packages, platform."""
    return {
        "python": platform.python_version(),
        **_package_versions(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def version_lines() -> Iterator[str]:
    """Yield versions, platform and numba's cache, a line each."""
    from fdsl.primitives.philox import philox4x32

    yield f"fdsl {VERSION}"
    yield from (f"{name:10}{value}" for name, value in made_with().items())
    cache = getattr(philox4x32, "_cache", None)
    yield f"kernels   {f'compiled into {cache.cache_path} and such folders' if cache else 'not compiled: NUMBA_DISABLE_JIT'}"


@cache
def shared_versions() -> dict[str, str]:
    """Return the versions that machines must share.

    With others, they may make other bytes.
    """
    return {"fdsl": VERSION, **made_with(), "python": platform.python_version().rpartition(".")[0]}
