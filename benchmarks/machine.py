"""Describes the machine of a measurement, without its name."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("fdsl", "isal", "llvmlite", "numba", "numpy", "opencv-python-headless", "pillow", "pyarrow")
_CPUINFO = Path("/proc/cpuinfo")


def _cpu_model() -> str:
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe(*others: str) -> dict[str, Any]:
    """Return platform, processor, usable cores, and versions.

    Parameters
    ----------
    others : names of further packages
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": len(usable),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in (*_PACKAGES, *others)},
    }
