"""The toolkit's version, and those of what it computes with."""

from __future__ import annotations

import platform
from importlib.metadata import version

VERSION = version("fdsl")

_PACKAGES = ("numba", "llvmlite", "numpy", "isal", "pyarrow")
"""What renders, deflates and writes tables."""


def made_with() -> dict[str, str]:
    """Return what this process makes data with, by name: Python, packages, platform."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
    }
