"""Interruptions, killed processes and full or read-only disks, through the real command: nothing whole is lost."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from shards import Spec, bake
from shards.spec import parse_spec
from tests.shards.conftest import FDSL, run_fdsl, small_mapping, small_spec, snapshot

SLOW = small_mapping(
    "rcdb",
    name="slow",
    categories=10,
    instances={"train": 12, "validation": 4},
    image={"size": 512},
    shards={"samples": 5},
    params={"vertices": [800, 1000], "contours": [150, 200]},
)
"""160 images in 32 shards, each of them some 40 ms of work."""

GO_ON = "the shards that are whole stay, and the same command goes on"
PATIENCE_S = 60.0


def wait_for(what: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Poll until something holds; fail if that takes a minute, or if the process has ended before."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert process is None or process.poll() is None, f"ended too soon: {process.communicate()}"
        assert time.monotonic() < end, "nothing happened for a minute"
        time.sleep(0.002)


def running() -> dict[int, int]:
    """The parent of each process that is not a zombie."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            parents[int(entry.name)] = int(parent)
    return parents


def descendants(pid: int) -> set[int]:
    parents, found, todo = running(), set(), [pid]
    while todo:
        one = todo.pop()
        children = [child for child, parent in parents.items() if parent == one]
        found |= set(children)
        todo += children
    return found


def read_proc(pid: int, name: str) -> bytes:
    """What the system says of a process; nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def workers_of(pid: int) -> list[int]:
    """The numbers of the processes that bake for a command."""

    return sorted(child for child in descendants(pid) if b"LokyProcess" in read_proc(child, "cmdline"))


def end_all(pids: set[int]) -> None:
    for pid in pids & set(running()):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def baking(file: Path, out: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `fdsl bake` with two workers as a shell does: in a process group of its own, deaf to nothing."""
    with subprocess.Popen(
        [FDSL, "bake", file, "-o", out, "--workers", "2", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        started: set[int] = set()
        try:
            yield process
        finally:
            started = descendants(process.pid) | {process.pid}
            end_all(started)


@pytest.fixture(scope="module")
def slow() -> Spec:
    return parse_spec(SLOW)


@pytest.fixture(scope="module")
def undisturbed(slow: Spec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed")
    bake(slow, out, workers=1)
    return snapshot(out)


@pytest.fixture
def file(slow: Spec, tmp_path: Path) -> Path:
    path = tmp_path / "slow.yaml"
    path.write_text(yaml.safe_dump(slow.to_mapping()))
    return path


def n_done(out: Path) -> int:
    return len(list(out.glob("receipts/[!.]*.json")))


def moment(name: str, out: Path, process: subprocess.Popen[str]) -> Callable[[], bool]:
    """What to wait for before a fault: workers that still import, the start, the first shard, or one in the first third."""
    if name == "imports":
        return lambda: any(b"numpy" in read_proc(worker, "maps") for worker in workers_of(process.pid))
    if name == "start":
        return lambda: (out / "spec.yaml").exists() and len(workers_of(process.pid)) == 2
    n_shards = 1 if name == "first shard" else random.Random(name).randint(3, 10)
    return lambda: n_done(out) >= n_shards


def assert_one_line(stderr: str, message: str) -> None:
    """One line tells what happened; before it there may be lines of progress, and the one that ^C stands in."""
    *progress, last = filter(None, stderr.splitlines())
    assert last == f"fdsl: {message}"
    assert all(line.startswith("slow: ") and line.endswith(" left") for line in progress), stderr


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def press_ctrl_c_again_and_again(process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        press_ctrl_c(process)
        time.sleep(0.02)


def interrupt_parent(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


def terminate_parent(process: subprocess.Popen[str]) -> None:
    process.terminate()


def kill_a_worker(process: subprocess.Popen[str]) -> None:
    os.kill(workers_of(process.pid)[-1], signal.SIGKILL)


INTERRUPTED, TERMINATED = f"interrupted; {GO_ON}", f"terminated; {GO_ON}"
WORKER_DIED = f"a worker process ended unexpectedly (SIGKILL(-9)); if memory ran out, use fewer workers; {GO_ON}"


@pytest.mark.parametrize(
    ("fault", "when", "status", "message"),
    [
        (press_ctrl_c, "imports", 130, INTERRUPTED),
        (press_ctrl_c, "start", 130, INTERRUPTED),
        (press_ctrl_c_again_and_again, "later 5", 130, INTERRUPTED),
        (press_ctrl_c, "later 1", 130, INTERRUPTED),
        (interrupt_parent, "first shard", 130, INTERRUPTED),
        (terminate_parent, "start", 143, TERMINATED),
        (terminate_parent, "later 2", 143, TERMINATED),
        (kill_a_worker, "start", 1, WORKER_DIED),
        (kill_a_worker, "later 3", 1, WORKER_DIED),
    ],
)
def test_an_interrupted_bake_leaves_whole_shards_says_so_and_goes_on(
    fault: Callable[[subprocess.Popen[str]], None],
    when: str,
    status: int,
    message: str,
    slow: Spec,
    file: Path,
    tmp_path: Path,
    undisturbed: dict[str, str],
) -> None:
    out = tmp_path / "out"
    with baking(file, out) as process:
        wait_for(moment(when, out, process), process)
        family = descendants(process.pid)
        fault(process)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        wait_for(lambda: not family & set(running()))
    assert process.returncode == status, stderr
    assert_one_line(stderr, message)
    assert stdout == ""
    there = snapshot(out)
    assert there.items() < undisturbed.items()
    assert "_info.json" not in there
    assert when in ("imports", "start") or n_done(out) >= 1
    done = bake(slow, out, workers=1)
    assert snapshot(out) == undisturbed
    assert done.shards_found == sum(name.startswith("receipts/") for name in there)


@pytest.mark.parametrize("when", ["start", "later 4"])
def test_a_killed_command_takes_its_workers_with_it_and_the_same_command_goes_on(
    when: str, file: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    out = tmp_path / "out"
    with baking(file, out) as process:
        wait_for(moment(when, out, process), process)
        family = descendants(process.pid)
        workers = workers_of(process.pid)
        process.kill()
        process.wait(timeout=PATIENCE_S)
        killed = time.monotonic()
        try:
            wait_for(lambda: not family & set(running()))
        finally:
            end_all(family)
    assert len(workers) == 2
    assert time.monotonic() - killed < 10.0
    there = {name: content for name, content in snapshot(out).items() if not Path(name).name.startswith(".")}
    assert there.items() < undisturbed.items()
    done = run_fdsl("bake", file, "-o", out, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "the dataset is complete" in done.stdout
    assert snapshot(out) == undisturbed


# Disks


def assert_told(done: subprocess.CompletedProcess[str], reason: str) -> None:
    """Exit 1 and one line that says why."""
    assert done.returncode == 1, done.stderr
    *progress, line = done.stderr.splitlines()
    assert all("/s" in each for each in progress), done.stderr
    assert line.startswith("fdsl: ")
    assert reason in line
    assert "nothing that was whole is lost" in line


@pytest.fixture(scope="module")
def small() -> Spec:
    return small_spec("exfractal")


@pytest.fixture(scope="module")
def whole(small: Spec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole")
    bake(small, out, workers=1)
    return snapshot(out)


@pytest.fixture
def small_file(small: Spec, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small.to_mapping()))
    return path


@pytest.fixture
def part(small: Spec, tmp_path: Path) -> Path:
    """A dataset of which some shards are still to be baked."""
    out = tmp_path / "part"
    bake(small, out, workers=1, window="0:4")
    return out


def mount_tmpfs(where: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", where], check=True)


def grow_tmpfs(where: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10000", where], check=True)


def test_a_full_disk_is_told_and_with_more_room_the_same_command_completes(
    small_file: Path, whole: dict[str, str], mount_point: Path
) -> None:
    mount_tmpfs(mount_point, "size=120k")
    out = mount_point / "out"
    command = ("bake", small_file, "-o", out, "--workers", "2")
    assert_told(run_fdsl(*command), "No space left on device")
    assert snapshot(out).items() < whole.items()
    assert n_done(out) >= 1
    grow_tmpfs(mount_point)
    assert run_fdsl(*command).returncode == 0
    assert snapshot(out) == whole


FULL = [f"size={n}k" for n in (4, 8, 12, 16, 20, 24, 28, 60, 200, 260)] + [
    f"size=1m,nr_inodes={n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 25, 41, 42, 43, 44)
]
"""Disks that are full after so many bytes or so many files: at first, in the middle and, for the index, at last."""


@pytest.mark.parametrize("options", FULL)
def test_whenever_the_disk_is_full_nothing_is_half_there_and_the_bake_goes_on(
    options: str, small: Spec, whole: dict[str, str], mount_point: Path
) -> None:
    mount_tmpfs(mount_point, options)
    out = mount_point / "out"
    with pytest.raises(OSError, match="No space left on device"):
        bake(small, out, workers=1)
    assert not out.exists() or snapshot(out).items() < whole.items()
    grow_tmpfs(mount_point)
    bake(small, out, workers=1)
    assert snapshot(out) == whole


@pytest.mark.parametrize(("limit_kb", "n_kept"), [(1, 0), (14, 1)])
def test_a_limit_on_the_size_of_files_is_told_and_without_it_the_same_command_completes(
    limit_kb: int, n_kept: int, small_file: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("bake", small_file, "-o", out, "--workers", "1")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_kb * 1024, limit_kb * 1024))

    assert_told(run_fdsl(*command, preexec_fn=limit), "File too large")
    assert snapshot(out).items() < whole.items()
    assert n_done(out) == n_kept
    assert run_fdsl(*command).returncode == 0
    assert snapshot(out) == whole


def test_a_read_only_disk_is_told_and_nothing_changes(small_file: Path, part: Path, mount_point: Path) -> None:
    before = snapshot(part)
    subprocess.run(["mount", "--bind", part, mount_point], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", mount_point], check=True)
    for out in (mount_point, mount_point / "new"):
        assert_told(run_fdsl("bake", small_file, "-o", out, "--workers", "1"), "Read-only file system")
    assert snapshot(part) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the test above mounts read-only instead")
def test_a_folder_without_permission_is_told_and_nothing_changes(small_file: Path, part: Path) -> None:
    before = snapshot(part)
    part.chmod(0o555)
    try:
        for out in (part, part / "new"):
            assert_told(run_fdsl("bake", small_file, "-o", out, "--workers", "1"), "Permission denied")
        assert snapshot(part) == before
    finally:
        part.chmod(0o755)
