"""One process at a time bakes a shard. The second one learns who bakes it, and dead processes hold no lock."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fdsl import InputError
from shards.layout import LOCK
from shards.lock import is_locked, locked
from tests.commands import fdsl, refused, succeeded
from tests.processes import PATIENCE_S
from tests.shards.conftest import dead_pid, snapshot
from tests.shards.disk import OnDisk

HOLD = """
import sys
from pathlib import Path
from shards.lock import is_locked, locked
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
            process.communicate(timeout=PATIENCE_S)


def is_free(folder: Path, first: int, n: int) -> bool:
    try:
        with locked(folder, first, n):
            return True
    except InputError:
        return False


def test_lock_file_stays_without_notes(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path, 0, 12):
            note = (tmp_path / LOCK).read_text()
            assert note.split() == ["0", "12", str(os.getpid()), socket.gethostname()[:64]]
        assert not (tmp_path / LOCK).read_text().strip("\0")
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_only_these_shards_are_locked(tmp_path: Path) -> None:
    ranges = {(3, 4): False, (0, 12): False, (6, 1): False, (0, 4): False, (0, 3): True, (7, 5): True, (700, 1): True}
    with held(tmp_path, 3, 4):
        assert {one: is_free(tmp_path, *one) for one in ranges} == ranges
    assert all(is_free(tmp_path, *one) for one in ranges)


def test_refusal_names_the_right_holder(tmp_path: Path) -> None:
    with held(tmp_path, 0, 5) as one, held(tmp_path, 5, 5) as other:
        for first, n, pid in ((1, 1, one.pid), (9, 10, other.pid)):
            with (
                pytest.raises(InputError, match=rf"is being baked by process {pid} on {socket.gethostname()}; wait"),
                locked(tmp_path, first, n),
            ):
                pass


def test_lock_of_dead_process_is_free(tmp_path: Path) -> None:
    with held(tmp_path, 0, 5) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=PATIENCE_S)
        assert (tmp_path / LOCK).read_text().startswith("0 5 ")
        assert is_free(tmp_path, 0, 12)


def test_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with held(tmp_path, 700, 5):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with locked(tmp_path, 0, 5):
        assert is_locked(tmp_path)
        with held(tmp_path, 5, 1):
            assert is_locked(tmp_path)
    (tmp_path / LOCK).unlink()
    os.mkfifo(tmp_path / LOCK)
    assert not is_locked(tmp_path)


def test_content_of_lock_file_does_not_matter(tmp_path: Path) -> None:
    contents = [b"", b"\0" * 1000, b"garbage", b"0 5 x y", b"-1 5 1 host".ljust(128), b"\xff" * 300]
    for content in contents:
        (tmp_path / LOCK).write_bytes(content)
        assert is_free(tmp_path, 0, 12)
    with held(tmp_path, 0, 5):
        for content in contents:
            (tmp_path / LOCK).write_bytes(content)
            with pytest.raises(InputError, match="is being baked by another process"), locked(tmp_path, 0, 1):
                pass


def test_note_of_dead_process_is_ignored(tmp_path: Path) -> None:
    with held(tmp_path, 5, 5) as process:
        with (tmp_path / LOCK).open("r+b") as file:
            file.write(f"0 12 {dead_pid()} elsewhere".ljust(128).encode())
        with pytest.raises(InputError, match=f"by process {process.pid} on"), locked(tmp_path, 0, 12):
            pass


COME_AND_GO = """
import sys
from pathlib import Path
from shards.lock import is_locked, locked
print("ready", flush=True)
sys.stdin.read()
for _ in range(500):
    with locked(Path(sys.argv[1]), int(sys.argv[2]), 3):
        pass
"""


@pytest.mark.slow
def test_neighbours_do_not_disturb_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COME_AND_GO, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([*command, str(first)], text=True, **pipes) for first in (0, 3, 90)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate(timeout=PATIENCE_S)[1] for process in processes]
    assert errors == [""] * 3
    assert [process.returncode for process in processes] == [0] * 3


def test_threads_of_one_process_take_turns(tmp_path: Path) -> None:
    """Byte locks do not keep a process from itself."""
    with (
        locked(tmp_path, 0, 5),
        pytest.raises(InputError, match="this process is already baking"),
        locked(tmp_path, 7, 5),
    ):
        pass
    assert is_free(tmp_path, 0, 5)


@pytest.mark.parametrize("kind", ["link", "dead link", "folder", "fifo"])
def test_only_a_regular_file_is_locked(kind: str, tmp_path: Path) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    out.mkdir()
    if kind.endswith("link"):
        (out / LOCK).symlink_to(victim if kind == "link" else tmp_path / "nowhere")
    elif kind == "folder":
        (out / LOCK).mkdir()
    else:
        os.mkfifo(out / LOCK)
    with pytest.raises(InputError, match=f"`{out / LOCK}` is not a regular file; remove it"), locked(out, 0, 5):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "victim"]
    assert victim.read_text() == "precious"


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", refuse)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path, 0, 5) as is_alone:
        assert is_alone
    refuse_locks(monkeypatch, number)
    with locked(tmp_path, 0, 5) as is_alone:
        assert not is_alone
        assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EDEADLK])
def test_failed_lock_names_its_file(number: int, copy: OnDisk, baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, number)
    for command in (["bake", copy.path / "spec.yaml", "-o", copy.path], ["repair", copy.path]):
        assert refused(*command, "--workers", "1") == (
            f"fdsl: `{copy.path / LOCK}`: the file system does not lock it: {os.strerror(number)};"
            " fix this and run the same command again; finished shards are kept"
        )
    assert snapshot(copy.path) == snapshot(baked)


def test_bake_and_repair_are_refused_in_one_line(copy: OnDisk, baked: Path) -> None:
    out = copy.path
    (out / "train-000003.tar").unlink()
    before = snapshot(out)
    with held(out, 2, 2) as process:
        for command in (["bake", out / "spec.yaml", "-o", out], ["repair", out]):
            assert refused(*command, "--workers", "1") == (
                f"fdsl: `{out}` is being baked by process {process.pid} on {socket.gethostname()};"
                " wait until it is done, stop it, or select other `shards`"
            )
        succeeded("repair", out, "--dry-run", "--workers", "1")
        assert "train-000003.tar: " in fdsl("verify", out, "--workers", "1").stdout
        assert snapshot(out) == before
        succeeded("bake", out / "spec.yaml", "-o", out, "--shards", "4:9", "--workers", "1")
    succeeded("repair", out, "--workers", "1")
    assert snapshot(out) == snapshot(baked)
