"""Other people's machines: what they lack is reported in one line that names the place."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest
import yaml

from fdsl import Spec, bake
from tests.commands import fdsl, refused
from tests.processes import PATIENCE_S
from tests.shards.conftest import FDSL, SERIAL, run_fdsl, small_spec, snapshot
from tests.shards.test_faults import grow_tmpfs, mount_tmpfs

pytestmark = pytest.mark.slow

AGAIN = "fix this and run the same command again; finished shards are kept"


@pytest.fixture
def small() -> Spec:
    return small_spec("rcdb")


@pytest.fixture
def small_file(small: Spec, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small.to_mapping()))
    return path


@pytest.mark.parametrize("options", ["nr_inodes=1", "nr_inodes=5", "nr_inodes=9", "ro"])
def test_unusable_shared_memory_is_named(options: str, small: Spec, small_file: Path) -> None:
    """Worker processes need semaphores, each a file there; one worker needs none."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("unshare may not make a mount namespace here")
    script = f'mount -t tmpfs -o {options} tmpfs /dev/shm && exec "$0" "$@"'
    out = small_file.with_name("out")
    command = ["unshare", "-m", "sh", "-c", script, FDSL, "bake", small_file, "-o", out, "--workers"]
    done = subprocess.run([*command, "2"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    reason = "Read-only file system" if options == "ro" else "No space left on device"
    line = f"fdsl: `/dev/shm`: {reason}: worker processes need semaphores there; one worker needs none; {AGAIN}\n"
    assert (done.returncode, done.stderr) == (1, line)
    done = subprocess.run([*command, "1"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    bake(small, out.with_name("undisturbed"), executor=SERIAL)
    assert snapshot(out) == snapshot(out.with_name("undisturbed"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
@pytest.mark.parametrize("out", ["/proc/new", "/proc/new/deeper"])
def test_folder_that_cannot_be_made_is_named(out: str, small_file: Path) -> None:
    line = refused("bake", small_file, "-o", out, "--workers", 1)
    assert line.startswith("fdsl: `/proc/new`: this folder cannot be made: ")
    assert line.endswith(AGAIN)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="numba's compiler is off")
def test_full_cache_folder_is_named(small_file: Path, mount_point: Path) -> None:
    mount_tmpfs(mount_point, "size=20k")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(mount_point)}
    command = ["bake", small_file, "-o", small_file.with_name("out"), "--workers", "1"]
    done = run_fdsl(*command, env=environment)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("fdsl: ")]
    assert line.startswith(f"fdsl: `{mount_point}/")
    assert "No space left on device: compiled kernels cannot be saved; make room, or set NUMBA_CACHE_DIR" in line
    grow_tmpfs(mount_point)
    done = run_fdsl(*command, env=environment)
    assert done.returncode == 0, done.stderr


TOO_LITTLE = (
    "`ulimit -v` (={:,}) must be at least 1,536,000: with less address space, libraries crash;"
    " raise it, or run `ulimit -v unlimited`"
)


@pytest.mark.parametrize("limit_kib", [60_000, 200_000, 700_000, 1_535_999, 2_150_400])
def test_little_memory_is_refused_before_it_crashes(limit_kib: int, small_file: Path) -> None:
    """With the first limits, libraries would crash.

    The last one was too little for pyarrow's own allocator. What the smallest accepted limit allows depends on the builds of
    libraries, so that no bake is tried with it.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_kib * 1024, limit_kib * 1024))

    done = run_fdsl("bake", small_file, "-o", small_file.with_name("out"), "--workers", "2", "-q", preexec_fn=limit)
    is_enough = limit_kib >= 1_536_000
    line = "" if is_enough else f"fdsl: {TOO_LITTLE.format(limit_kib)}\n"
    assert (done.returncode, done.stderr) == (0 if is_enough else 1, line)


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "fdsl runs on Linux and macOS; on Windows, use the Windows Subsystem for Linux"
    code = "import sys; sys.platform = 'win32'; import shards"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == f"ImportError: {line}"
    monkeypatch.setattr(sys, "platform", "win32")
    assert fdsl("presets").stderr == f"fdsl: {line}\n"
