"""The number of processors is that of the innermost cgroup and of the affinity mask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shards.executors.processors import n_processors

N_ALLOWED = 6
"""Processors that the affinity mask allows, in this process."""


@pytest.fixture(autouse=True)
def _affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(N_ALLOWED)), raising=False)


def counted(folder: Path, groups: str, files: dict[str, str]) -> int:
    """Return the number of processors under a made-up /proc/self/cgroup and /sys/fs/cgroup."""
    for name, content in files.items():
        path = folder / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "groups").write_text(groups)
    return n_processors(folder / "groups", folder / "mount")


@pytest.mark.parametrize(
    ("groups", "files", "n"),
    [
        ("0::/\n", {}, 6),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 6),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/job/step\n", {"job/step/cpu.max": "50000 100000\n"}, 1),
        ("0::/job/step\n", {"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "max 100000\n"}, 2),
        ("0::/job/step\n", {"job/cpu.max": "200000 100000\n", "job/step/cpu.max": "400000 100000\n"}, 2),
        ("0::/job/step\n", {"job/cpu.max": "400000 100000\n", "job/step/cpu.max": "200000 100000\n"}, 2),
        ("0::/job\n", {"job/cpu.max": "900000 100000\n"}, 6),
        ("0::/other\n", {"job/cpu.max": "100000 100000\n"}, 6),
        ("0::/host/docker/1\n", {"cpu.max": "300000 100000\n"}, 3),  # the container's own cgroup is mounted as the root
        ("0::/../sibling\n", {"cpu.max": "300000 100000\n"}, 3),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 6),
        ("4:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "50000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}, 1),
        ("3:cpuset:/job\n0::/\n", {"cpu/job/cpu.cfs_quota_us": "50000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}, 6),
        ("0::/job\n", {"job/cpu.max": "nonsense\n"}, 6),
        ("0::/job\n", {"job/cpu.max": "100000 0\n"}, 6),
        ("0::/a:b\n", {"a:b/cpu.max": "200000 100000\n"}, 2),
        ("", {"cpu.max": "100000 100000\n"}, 6),
    ],
)
def test_smallest_quota_counts(groups: str, files: dict[str, str], n: int, tmp_path: Path) -> None:
    assert counted(tmp_path, groups, files) == n


def test_system_without_cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert n_processors(tmp_path / "missing", tmp_path) == N_ALLOWED
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert n_processors(tmp_path / "missing", tmp_path) == 3


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A cgroup with a quota of half a processor, inside one without. Skips the test where none can be made."""
    version_1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").exists()
    outer = Path("/sys/fs/cgroup/cpu" if version_1 else "/sys/fs/cgroup", f"fdsl-test-{os.getpid()}")
    inner = outer / "inner"
    try:
        outer.mkdir()
        if not version_1:
            (outer / "cgroup.subtree_control").write_text("+cpu")
        inner.mkdir()
        name, quota = ("cpu.cfs_quota_us", "50000") if version_1 else ("cpu.max", "50000 100000")
        (inner / name).write_text(quota)
        yield inner
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    finally:
        for folder in (inner, outer):
            if folder.exists():
                folder.rmdir()


IN_GROUP = """
import os, sys
from fdsl import LocalExecutor
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
print(LocalExecutor().n_workers)
"""


@pytest.mark.slow
def test_half_a_processor_is_one_worker(real_group: Path) -> None:
    command = [sys.executable, "-c", IN_GROUP, real_group]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity masks")
def test_affinity_mask_counts() -> None:
    """Slurm and `taskset` set it."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    code += "from fdsl import LocalExecutor; print(LocalExecutor().n_workers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")
