"""Small datasets of every family, baked once per session. A test that changes one works on a copy."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from fdsl import LocalExecutor, Spec, bake, parse_spec, search_categories
from fdsl.dataset.families import FAMILIES
from fdsl.dataset.plan import Shard, plan_shards
from shards.directory import Directory
from shards.layout import LOCK
from shards.stores.contract import Store
from shards.stores.places import open_store
from tests.daemons import empty_place, s3_server, ssh_server  # noqa: F401 - fixtures
from tests.processes import PATIENCE_S
from tests.shards.disk import OnDisk, on_disk

NAME = "train-000003"
SLOW: dict[str, Any] = {
    "name": "slow",
    "family": "rcdb",
    "seed": 7,
    "categories": 10,
    "instances": {"train": 12, "validation": 4},
    "image": {"size": 512},
    "shards": {"samples": 5},
    "params": {"vertices": [800, 1000], "contours": [150, 200]},
}
"""160 images in 32 shards, about 40 ms of work each: time to interrupt a bake. Which family does not matter."""
FDSL = Path(sys.executable).with_name("fdsl")
SERIAL = LocalExecutor(1)
"""Runs tasks in this process."""
ONE_FAMILY = pytest.mark.parametrize("family", ["rcdb"], indirect=True)
"""For a test of names, receipts or damaged files, which are the same in every family."""
FAST_PARAMS: dict[str, dict[str, Any]] = {
    "exfractal": {"points": 1000},
    "rcdb": {"vertices": [3, 20], "contours": [1, 20]},
}
"""Parameters that render quickly; a family without an entry is tested with its own."""


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
        "params": FAST_PARAMS.get(family, {}),
        **changes,
    }


def small_spec(family: str, /, **changes: Any) -> Spec:
    return parse_spec(small_mapping(family, **changes))


def snapshot(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a directory, and "" for every folder, by relative name. Omits the lock file."""
    return {
        str(entry.relative_to(path)): "" if entry.is_dir() else hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in path.rglob("*")
        if entry.name != LOCK
    }


def members(path: Path) -> dict[str, bytes]:
    """Return the payload of each file in a tar."""
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def shards_of(directory: Directory) -> dict[str, Shard]:
    return {shard.name: shard for shard in plan_shards(directory.spec)}


def run_fdsl(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user does."""
    command = [str(argument) for argument in (FDSL, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options)


def dead_pid() -> int:
    """Return the number of a process of this host that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def unmount(folder: Path) -> bool:
    """Unmount a folder. Return whether something was mounted."""
    return subprocess.run(["umount", "--lazy", folder], capture_output=True, check=False).returncode == 0


def can_mount(folder: Path) -> bool:
    """Return whether this process may mount."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
    return unmount(folder)


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def spec(family: str) -> Spec:
    return small_spec(family)


@pytest.fixture(scope="session")
def baked(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A dataset baked by one worker, read-only for tests."""
    out = tmp_path_factory.mktemp("baked") / spec.family
    bake(spec, out, executor=SERIAL)
    before = snapshot(out)
    yield out
    assert snapshot(out) == before, "a test changed the shared directory; use `copy`"


@pytest.fixture
def copy(baked: Path, tmp_path: Path) -> OnDisk:
    """A copy of the baked dataset, to damage."""
    return on_disk(Path(shutil.copytree(baked, tmp_path / "copy")))


@pytest.fixture(params=["folder", "s3", "ssh"])
def destination(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty place of each kind."""
    return open_store(empty_place(request.param, request, tmp_path / "there", monkeypatch))


def content(store: Store) -> dict[str, str]:
    """Return the SHA-256 of each file of a shipped dataset, by name."""
    names = [*store.entries(), *store.entries("samples"), *store.entries("receipts")]
    return {
        name: hashlib.sha256(store.read(name, 10**8)).hexdigest() for name in names if not name.endswith(("/", "SUMS"))
    }


def files(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a baked directory, by name."""
    return {name: digest for name, digest in snapshot(path).items() if digest}


@pytest.fixture
def shard(copy: OnDisk) -> Shard:
    """The shard to damage."""
    return shards_of(copy)[NAME]


@pytest.fixture
def other_table(spec: Spec) -> pa.Table:
    """Categories that the spec does not sample: of another seed, one more than it needs."""
    return search_categories(spec.replace(categories=6, seed=99)).table


@pytest.fixture
def mount_point(tmp_path: Path) -> Iterator[Path]:
    """An empty folder to mount on. Skips the test without the right to mount."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    if not can_mount(folder):
        pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    yield folder
    while unmount(folder):
        pass


@pytest.fixture
def time_limit() -> Iterator[None]:
    """Fail instead of hanging, if the test waits for a FIFO that nobody writes to."""

    def fail(number: int, frame: object) -> None:
        pytest.fail("the test hangs")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session")
def slow_baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that takes a while, baked in one go; not to be changed."""
    out = tmp_path_factory.mktemp("slow") / "out"
    bake(parse_spec(SLOW), out, executor=LocalExecutor(1))
    return out


@pytest.fixture(scope="session")
def slow_whole(slow_baked: Path) -> dict[str, str]:
    """The files of the dataset that takes a while."""
    return snapshot(slow_baked)


@pytest.fixture
def slow_file(tmp_path: Path) -> Path:
    """The spec of the dataset that takes a while."""
    path = tmp_path / "slow.yaml"
    path.write_text(yaml.safe_dump(SLOW))
    return path
