"""Small datasets of both families, baked once; a test that damages one works on a copy."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from shards import Spec, bake, sample_categories
from shards.directory import Directory, open_directory
from shards.plan import Shard, plan_shards
from shards.spec import parse_spec

NAME = "train-000003"
FAMILIES = ("exfractal", "rcdb")
FDSL = Path(sys.executable).with_name("fdsl")
FAST_PARAMS: dict[str, dict[str, Any]] = {
    "exfractal": {"points": 1000},
    "rcdb": {"vertices": [3, 20], "contours": [1, 20]},
}


def small_mapping(family: str, /, **changes: Any) -> dict[str, Any]:
    """75 images: 9 train shards of 6 or 7 and 3 validation shards of 5."""
    return {
        "name": f"small-{family}",
        "family": family,
        "seed": 7,
        "categories": 5,
        "instances": {"train": 12, "validation": 3},
        "image": {"size": 64},
        "shards": {"samples": 7},
        "params": FAST_PARAMS[family],
        **changes,
    }


def small_spec(family: str, /, **changes: Any) -> Spec:
    return parse_spec(small_mapping(family, **changes))


def snapshot(path: Path) -> dict[str, str]:
    """The SHA-256 of every file under a directory, hidden ones too, and "" for every folder, by relative name."""
    return {
        str(entry.relative_to(path)): "" if entry.is_dir() else hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in path.rglob("*")
    }


def members(path: Path) -> dict[str, bytes]:
    """The payload of each file in a tar."""
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def shards_of(directory: Directory) -> dict[str, Shard]:
    return {shard.name: shard for shard in plan_shards(directory.spec)}


def run_fdsl(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user does."""
    command = [str(argument) for argument in (FDSL, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def dead_pid() -> int:
    """The number of a process of this host that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def unmount(where: Path) -> bool:
    """Whether there was something to unmount."""
    return subprocess.run(["umount", "--lazy", where], capture_output=True, check=False).returncode == 0


def can_mount(where: Path) -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", where], capture_output=True, check=False)
    return unmount(where)


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def spec(family: str) -> Spec:
    return small_spec(family)


@pytest.fixture(scope="session")
def baked(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset baked in one go by one worker; not to be changed."""
    out = tmp_path_factory.mktemp("baked") / spec.family
    bake(spec, out, workers=1)
    whole = snapshot(out)
    yield out
    assert snapshot(out) == whole, "a test changed the shared directory; use `copy`"


@pytest.fixture
def copy(baked: Path, tmp_path: Path) -> Directory:
    """A dataset of one's own to damage."""
    return open_directory(Path(shutil.copytree(baked, tmp_path / "copy")))


@pytest.fixture
def shard(copy: Directory) -> Shard:
    """The shard that is harmed."""
    return shards_of(copy)[NAME]


@pytest.fixture
def other_table(spec: Spec) -> pa.Table:
    """Categories that the spec would not sample itself: one more than it needs, of another seed."""
    return sample_categories(dataclasses.replace(spec, categories=6, seed=99)).table


@pytest.fixture
def mount_point(tmp_path: Path) -> Iterator[Path]:
    """An empty folder on which the test may mount; skips where that is not allowed."""
    where = tmp_path / "mounted"
    where.mkdir()
    if not can_mount(where):
        pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    yield where
    while unmount(where):
        pass
