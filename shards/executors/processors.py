"""Counts the processors that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def n_processors(groups: Path = _GROUPS, mount: Path = _MOUNT) -> int:
    """Return the number of processors, at least 1.

    Respects the affinity mask and the CPU quota of the process's cgroup and of every cgroup around it. A part of a processor
    counts as one. joblib and loky read the quota of the outermost cgroup only.

    Parameters
    ----------
    groups : lists the process's cgroup of each hierarchy
    mount : where the hierarchies are mounted
    """
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([n, *(math.ceil(quota) for quota in _quotas(groups, mount))]))


def _quotas(groups: Path, mount: Path) -> Iterator[float]:
    """Yield the CPU quota, in processors, of each cgroup that has one."""
    for line in _read(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mount / "cpu" if controllers else mount  # version 2 has one hierarchy, without a name
        # in a container, the path may be that of the host; skip what is not found
        inner = root / path.lstrip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(root):
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    """Yield the quota of a cgroup of either version, if any."""
    words = _read(folder / "cpu.max").split() or [
        *_read(folder / "cpu.cfs_quota_us").split(),
        *_read(folder / "cpu.cfs_period_us").split(),
    ]
    if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
        yield int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    """Return a file's text; nothing if it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
