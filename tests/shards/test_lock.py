"""One bake at a time of any shard: the second is told who bakes, and the dead bake nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shards import InputError
from shards.directory import Directory
from shards.lock import LOCK, locked
from tests.shards.conftest import dead_pid, run_fdsl, snapshot

HOLD = """
import sys
from pathlib import Path
from shards.lock import locked
with locked(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path, first: int, n: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock on some shards."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder, str(first), str(n)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.communicate(timeout=60)


def is_free(folder: Path, first: int, n: int) -> bool:
    try:
        with locked(folder, first, n):
            return True
    except InputError:
        return False


def test_it_is_there_while_it_is_held_and_leaves_nothing(tmp_path: Path) -> None:
    with locked(tmp_path, 0, 12):
        assert set(snapshot(tmp_path)) == {LOCK}
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("first", "n", "free"),
    [(3, 4, False), (0, 12, False), (6, 1, False), (0, 4, False), (0, 3, True), (7, 5, True), (700, 1, True)],
)
def test_shards_are_locked_and_no_others(first: int, n: int, free: bool, tmp_path: Path) -> None:
    with held(tmp_path, 3, 4):
        assert is_free(tmp_path, first, n) == free
    assert is_free(tmp_path, first, n)
    assert snapshot(tmp_path) == {}


def test_of_several_holders_the_right_one_is_named(tmp_path: Path) -> None:
    with held(tmp_path, 0, 5) as one, held(tmp_path, 5, 5) as other:
        for first, n, pid in ((1, 1, one.pid), (9, 10, other.pid)):
            with (
                pytest.raises(InputError, match=rf"is being baked by process {pid} on {socket.gethostname()}; wait"),
                locked(tmp_path, first, n),
            ):
                pass
    assert snapshot(tmp_path) == {}


def test_the_last_one_to_leave_removes_the_file(tmp_path: Path) -> None:
    with locked(tmp_path, 0, 5):
        with held(tmp_path, 5, 5):
            pass
        assert set(snapshot(tmp_path)) == {LOCK}
        assert not any((tmp_path / LOCK).read_bytes()[5 * 128 :])
    assert snapshot(tmp_path) == {}


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    with held(tmp_path, 0, 5) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        assert set(snapshot(tmp_path)) == {LOCK}
        assert is_free(tmp_path, 0, 12)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 1000, b"garbage", b"0 5 x y", b"-1 5 1 host".ljust(128), b"\xff" * 300]
)
def test_whatever_the_file_says_only_who_lives_counts(content: bytes, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(content)
    assert is_free(tmp_path, 0, 12)
    with held(tmp_path, 0, 5):
        (tmp_path / LOCK).write_bytes(content)
        with pytest.raises(InputError, match="is being baked by another process"), locked(tmp_path, 0, 1):
            pass


def test_the_note_of_a_dead_process_is_not_believed(tmp_path: Path) -> None:
    with held(tmp_path, 5, 5) as process:
        with (tmp_path / LOCK).open("r+b") as file:
            file.write(f"0 12 {dead_pid()} elsewhere".ljust(128).encode())
        with pytest.raises(InputError, match=f"by process {process.pid} on"), locked(tmp_path, 0, 12):
            pass


def test_where_the_file_was_removed_meanwhile_the_next_one_is_locked(tmp_path: Path) -> None:
    with held(tmp_path, 0, 5):
        (tmp_path / LOCK).unlink()
        with locked(tmp_path, 0, 5):
            assert (tmp_path / LOCK).stat().st_size > 0


COME_AND_GO = """
import sys
from pathlib import Path
from shards.lock import locked
for _ in range(1500):
    with locked(Path(sys.argv[1]), int(sys.argv[2]), 3):
        pass
"""


def test_those_who_come_and_go_do_not_disturb_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COME_AND_GO, tmp_path]
    running = [subprocess.Popen([*command, str(first)], stderr=subprocess.PIPE, text=True) for first in (0, 3, 90)]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert said == [""] * 3
    assert snapshot(tmp_path) == {}


def test_threads_of_one_process_bake_one_after_the_other(tmp_path: Path) -> None:
    with (
        locked(tmp_path, 0, 5),
        pytest.raises(InputError, match="this process is baking already"),
        locked(tmp_path, 7, 5),
    ):
        pass
    assert is_free(tmp_path, 0, 5)


@pytest.mark.parametrize("kind", ["link", "dead link", "folder", "fifo"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(kind: str, tmp_path: Path) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    out.mkdir()
    if kind.endswith("link"):
        (out / LOCK).symlink_to(victim if kind == "link" else tmp_path / "nowhere")
    elif kind == "folder":
        (out / LOCK).mkdir()
    else:
        os.mkfifo(out / LOCK)
    with pytest.raises((InputError, OSError)), locked(out, 0, 5):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "victim"]
    assert victim.read_text() == "precious"


def test_where_there_are_no_locks_a_bake_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(37, os.strerror(37))  # ENOLCK

    monkeypatch.setattr("fcntl.lockf", refuse)
    with locked(tmp_path, 0, 5):
        pass
    assert snapshot(tmp_path) == {}


def test_bake_and_repair_are_refused_in_one_line_and_verify_is_not(copy: Directory, baked: Path) -> None:
    (copy.path / "train-000003.tar").unlink()
    before = snapshot(copy.path)
    with held(copy.path, 2, 2) as process:
        for command in (["bake", copy.path / "spec.yaml", "-o", copy.path], ["repair", copy.path]):
            done = run_fdsl(*command, "--workers", "1")
            assert done.returncode == 1
            assert done.stderr == (
                f"fdsl: `{copy.path}` is being baked by process {process.pid} on {socket.gethostname()};"
                " wait until it is done, stop it, or take other --shards\n"
            )
        assert run_fdsl("repair", copy.path, "--dry-run").returncode == 0
        assert "train-000003.tar: missing" in run_fdsl("verify", copy.path).stdout
        assert {name: content for name, content in snapshot(copy.path).items() if name != LOCK} == before
        assert run_fdsl("bake", copy.path / "spec.yaml", "-o", copy.path, "--shards", "4:9").returncode == 0
    assert run_fdsl("repair", copy.path).returncode == 0
    assert snapshot(copy.path) == snapshot(baked)
