"""Unfinished files are deleted only by the process that has locked their shards."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fdsl import bake, repair
from tests.processes import PATIENCE_S
from tests.shards.conftest import SERIAL, snapshot
from tests.shards.disk import OnDisk

DIGITS = 16 * "0"
OF_SHARD = (
    f".train-000000.tar.{DIGITS}.tmp",
    f"samples/.train-000000.parquet.{DIGITS}.tmp",
    f"receipts/.train-000000.json.{DIGITS}.tmp",
)
"""What a killed bake leaves of shard 0."""

OF_ALL = tuple(
    f".{name}.{DIGITS}.tmp" for name in ("spec.yaml", "categories.parquet", "shards.parquet", "README.md", "_info.json")
)
"""What it leaves of the files of all shards."""


def leave(out: Path, *names: str) -> None:
    for name in names:
        (out / name).write_bytes(b"half")


def test_unfinished_files_of_others_stay(copy: OnDisk, baked: Path) -> None:
    whole = snapshot(baked).keys()
    leave(copy.path, *OF_SHARD, *OF_ALL)
    bake(copy.spec, copy.path, executor=SERIAL, shards="1:9")
    assert snapshot(copy.path).keys() == whole | {*OF_SHARD, *OF_ALL}
    bake(copy.spec, copy.path, executor=SERIAL, shards="0:1")
    assert snapshot(copy.path).keys() == whole | {*OF_ALL}
    bake(copy.spec, copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


def test_repair_leaves_those_of_others(copy: OnDisk, baked: Path) -> None:
    leave(copy.path, *OF_SHARD, *OF_ALL)
    repair(copy.path, executor=SERIAL, shards="1:9")
    assert snapshot(copy.path).keys() == snapshot(baked).keys() | {*OF_SHARD, *OF_ALL}
    repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


def test_without_locks_only_repair_deletes(copy: OnDisk, baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may bake the same shard at the same time."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", refuse)
    leave(copy.path, *OF_SHARD)
    bake(copy.spec, copy.path, executor=SERIAL)
    assert snapshot(copy.path).keys() == snapshot(baked).keys() | {*OF_SHARD}
    repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc"]
"""Runs a command that sees no other process, under the same host name."""

HALF_A_SHARD = """
import sys
from pathlib import Path
from shards.files import atomic_file
from shards.lock import locked
out = Path(sys.argv[1])
with locked(out, 0, 1), atomic_file(out / "train-000000.tar") as file:
    print("begun", flush=True)
    file.write(sys.stdin.buffer.read())
"""

OTHER_SHARDS = """
import sys
from pathlib import Path
from fdsl import LocalExecutor, bake, open_directory
bake(open_directory(sys.argv[1]).spec, sys.argv[1], shards="1:9", executor=LocalExecutor(1))
"""


@pytest.mark.slow
def test_two_containers_share_a_directory(copy: OnDisk, baked: Path) -> None:
    """Each has a host name and process numbers that mean nothing to the other."""
    if shutil.which("unshare") is None or subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("unshare may not make a PID namespace here")
    content = (copy.path / "train-000000.tar").read_bytes()
    for name in ("train-000000.tar", "train-000001.tar"):
        (copy.path / name).unlink()
    late = 'for _ in $(seq 100); do true & done; wait; "$0" "$@"; exit $?'  # a number that the other has not
    one = [*CONTAINER, "sh", "-c", late, sys.executable, "-c", HALF_A_SHARD, copy.path]
    with subprocess.Popen(one, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        other = [*CONTAINER, sys.executable, "-c", OTHER_SHARDS, copy.path]
        done = subprocess.run(other, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        error = process.communicate(content, timeout=PATIENCE_S)[1]
    assert (done.returncode, done.stderr, process.returncode, error) == (0, "", 0, b"")
    assert snapshot(copy.path) == snapshot(baked)
