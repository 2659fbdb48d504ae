"""Signals, killed processes, and disks that are full or read-only: finished shards are kept, and a bake resumes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from fdsl import LocalExecutor, Spec, bake, parse_spec
from tests.commands import error_line, fdsl, succeeded
from tests.processes import PATIENCE_S, EndedEarly, running, wait_for, workers_of
from tests.shards.conftest import SLOW, run_fdsl, small_spec, snapshot
from tests.shards.interruptions import (
    MAX_TRIES,
    Fault,
    Moment,
    finished,
    interrupt_command_only,
    interrupted_bake,
    keep_pressing_ctrl_c,
    kill,
    n_receipts,
    press_ctrl_c,
    shards_done,
    started,
    terminate,
    workers_exist,
    workers_import,
)

pytestmark = pytest.mark.slow

ALONE = LocalExecutor(1)
RESUME = "finished shards are kept; run the same command again to resume"

STOPS: dict[str, tuple[int, str, list[tuple[Moment, Fault]]]] = {
    "Ctrl-C": (
        130, f"fdsl: interrupted; {RESUME}",
        [
            (workers_import, press_ctrl_c), (workers_exist, press_ctrl_c),
            (shards_done(1), interrupt_command_only), (shards_done(6), keep_pressing_ctrl_c),
        ],
    ),
    "SIGTERM": (143, f"fdsl: terminated; {RESUME}", [(workers_exist, terminate), (shards_done(4), terminate)]),
}  # fmt: skip
"""Exit code, message, and when to strike how."""


@pytest.mark.parametrize("name", STOPS)
def test_stopped_bake_resumes(name: str, slow_file: Path, slow_whole: dict[str, str], tmp_path: Path) -> None:
    status, message, strikes = STOPS[name]
    out = tmp_path / "out"
    for moment, fault in strikes:
        outcome = interrupted_bake(slow_file, out, moment, fault)
        wait_for(lambda processes=outcome.processes: not processes & set(running()))
        assert (outcome.status, outcome.stdout) == (status, "")
        assert error_line(outcome.stderr) == message
        kept = snapshot(out)
        assert kept.items() < slow_whole.items(), "only whole files are left, and no hidden ones"
        assert "_info.json" not in kept
    n_kept = n_receipts(out)
    assert n_kept >= 1
    assert bake(parse_spec(SLOW), out, executor=ALONE).n_found == n_kept
    assert snapshot(out) == slow_whole


def killed_worker_bake(file: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Bake, and kill a worker after a few shards. A bake that completes before is deleted, and another one begins."""
    for _ in range(MAX_TRIES):
        with started("bake", file, "-o", out) as process, suppress(EndedEarly, IndexError, ProcessLookupError):
            wait_for(lambda: shards_done(3)(process, out), process)
            os.kill(workers_of(process.pid)[-1], signal.SIGKILL)
            stdout, stderr = process.communicate(timeout=PATIENCE_S)
            return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
        shutil.rmtree(out)
    pytest.fail(f"{MAX_TRIES} bakes completed before a worker was killed")


def test_killed_worker_does_not_end_the_bake(slow_file: Path, slow_whole: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    baked = killed_worker_bake(slow_file, out)
    assert baked.returncode == 0, baked.stderr
    assert "the dataset is complete" in baked.stdout
    assert snapshot(out) == slow_whole


def test_workers_end_with_killed_command(slow_file: Path, slow_whole: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    for moment in (workers_import, shards_done(4)):
        outcome = interrupted_bake(slow_file, out, moment, kill)
        assert outcome.status == -signal.SIGKILL
        wait_for(lambda processes=outcome.processes: not processes & set(running()))
        assert finished(out).items() < slow_whole.items()
    assert "the dataset is complete" in succeeded("bake", slow_file, "-o", out, "--workers", 2)
    assert snapshot(out) == slow_whole


# Disks


def assert_ends_with(done: subprocess.CompletedProcess[str], reason: str) -> None:
    """Exit code 1 and one line with the reason."""
    assert done.returncode == 1, done.stderr
    line = error_line(done.stderr)
    assert reason in line
    assert line.endswith("; fix this and run the same command again; finished shards are kept")


@pytest.fixture(scope="module")
def small() -> Spec:
    return small_spec("exfractal")


@pytest.fixture(scope="module")
def whole(small: Spec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole")
    bake(small, out, executor=ALONE)
    return snapshot(out)


@pytest.fixture
def small_file(small: Spec, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small.to_mapping()))
    return path


@pytest.fixture
def part(small: Spec, tmp_path: Path) -> Path:
    """A dataset of which some shards are missing."""
    out = tmp_path / "part"
    bake(small, out, executor=ALONE, shards="0:4")
    return out


def mount_tmpfs(where: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", where], check=True)


def grow_tmpfs(where: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10000", where], check=True)


def test_full_disk_is_one_line(small_file: Path, whole: dict[str, str], mount_point: Path) -> None:
    mount_tmpfs(mount_point, "size=120k")
    out = mount_point / "out"
    command = ("bake", small_file, "-o", out, "--workers", "2")
    assert_ends_with(fdsl(*command), "No space left on device")
    assert snapshot(out).items() < whole.items()
    assert n_receipts(out) >= 1
    grow_tmpfs(mount_point)
    succeeded(*command)
    assert snapshot(out) == whole


FULL = [f"size={n}k" for n in (4, 8, 12, 16, 20, 24, 28, 60, 200, 260)] + [
    f"size=1m,nr_inodes={n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 25, 41, 42, 43, 44)
]
"""Disks that are full after so many bytes or files: at the first one, in the middle, or only for the index."""


@pytest.mark.parametrize("options", FULL)
def test_disk_full_at_any_point(options: str, small: Spec, whole: dict[str, str], mount_point: Path) -> None:
    mount_tmpfs(mount_point, options)
    out = mount_point / "out"
    with pytest.raises(OSError, match="No space left on device"):
        bake(small, out, executor=ALONE)
    assert not out.exists() or snapshot(out).items() < whole.items()
    grow_tmpfs(mount_point)
    bake(small, out, executor=ALONE)
    assert snapshot(out) == whole


@pytest.mark.parametrize(("limit_kb", "n_kept"), [(1, 0), (14, 1)])
def test_file_size_limit_is_one_line(
    limit_kb: int, n_kept: int, small_file: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("bake", small_file, "-o", out, "--workers", "1")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_kb * 1024, limit_kb * 1024))

    assert_ends_with(run_fdsl(*command, preexec_fn=limit), "File too large")
    assert snapshot(out).items() < whole.items()
    assert n_receipts(out) == n_kept
    succeeded(*command)
    assert snapshot(out) == whole


def test_read_only_disk_is_one_line(small_file: Path, part: Path, mount_point: Path) -> None:
    before = snapshot(part)
    subprocess.run(["mount", "--bind", part, mount_point], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", mount_point], check=True)
    for out in (mount_point, mount_point / "new"):
        assert_ends_with(fdsl("bake", small_file, "-o", out, "--workers", "1"), "Read-only file system")
    assert snapshot(part) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the test above mounts read-only instead")
def test_folder_without_permission_is_one_line(small_file: Path, part: Path) -> None:
    before = snapshot(part)
    part.chmod(0o555)
    try:
        for out in (part, part / "new"):
            assert_ends_with(fdsl("bake", small_file, "-o", out, "--workers", "1"), "Permission denied")
        assert snapshot(part) == before
    finally:
        part.chmod(0o755)
