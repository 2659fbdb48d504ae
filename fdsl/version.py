"""Versions of the toolkit and of packages that affect its output."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

VERSION = version("fdsl")

_PACKAGES = ("numba", "llvmlite", "numpy", "isal", "pyarrow")
"""Packages that affect pixels or bytes."""


@cache
def _package_versions() -> dict[str, str]:
    """Read the versions once: it takes a millisecond, and each verification compares them."""
    return {name: version(name) for name in _PACKAGES}


def made_with() -> dict[str, str]:
    """Return the versions in use here: Python, packages, platform."""
    return {
        "python": platform.python_version(),
        **_package_versions(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def shared_versions() -> dict[str, str]:
    """Return the versions that machines must share.

    With others, they may make other bytes.
    """
    return {"fdsl": VERSION, **made_with(), "python": platform.python_version().rpartition(".")[0]}
