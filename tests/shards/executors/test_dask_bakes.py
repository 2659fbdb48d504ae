"""Bakes on a Dask cluster: the bytes of a local bake, whatever happens to the workers, the hosts and the drivers."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from fdsl import DaskExecutor, InputError, Spec, bake, repair, verify
from shards import lock
from tests.commands import error_line, fdsl, refused, succeeded
from tests.processes import PATIENCE_S, hear_ctrl_c, wait_for
from tests.shards.conftest import FDSL, NAME, SERIAL, can_mount, small_spec, snapshot
from tests.shards.executors.cluster import ABSENT, FOREVER, IS_INSTALLED, Cluster, dask_config
from tests.shards.executors.preloads import FULL, HOLD, POISON, holder, preload
from tests.shards.interruptions import n_receipts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_INSTALLED, reason=ABSENT)]


@pytest.fixture(scope="module")
def small() -> Spec:
    return small_spec("rcdb")


@pytest.fixture(scope="module")
def whole(small: Spec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a local bake."""
    out = tmp_path_factory.mktemp("whole")
    bake(small, out, executor=SERIAL)
    return snapshot(out)


@pytest.fixture
def small_file(small: Spec, tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small.to_mapping()))
    return path


def on(cluster: Cluster) -> tuple[str, ...]:
    """Options that select a cluster."""
    return "--executor", "dask", "--scheduler", cluster.address


@contextmanager
def driver(*command: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs `fdsl`."""
    with subprocess.Popen(
        [FDSL, *command, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def hidden(folder: Path) -> tuple[str, ...]:
    """Start of the command of a worker that has an empty disk in a folder's place."""
    return "unshare", "--mount", "bash", "-c", 'mount -t tmpfs tmpfs "$0"; exec "$@"', str(folder)


def test_bytes_are_those_of_local_bake(spec: Spec, baked: Path, cluster: Cluster, tmp_path: Path) -> None:
    result = bake(spec, tmp_path / "out", executor=DaskExecutor(cluster.address))
    assert (result.n_images, result.failures) == (75, {})
    assert snapshot(tmp_path / "out") == snapshot(baked)


def test_threads_of_a_worker_do_no_harm(spec: Spec, baked: Path, own_cluster: Cluster, tmp_path: Path) -> None:
    own_cluster.start_worker("--nthreads", "4")
    bake(spec, tmp_path / "out", executor=DaskExecutor(own_cluster.address))
    assert snapshot(tmp_path / "out") == snapshot(baked)


def test_commands_use_the_cluster(small_file: Path, cluster: Cluster, tmp_path: Path, whole: dict[str, str]) -> None:
    out = tmp_path / "out"
    assert "baked 75 images in 12 shards" in succeeded("bake", small_file, "-o", out, *on(cluster))
    assert "75 images in 12 shards are correct" in succeeded("verify", out, "--rerender", 9, *on(cluster))
    (out / f"{NAME}.tar").write_bytes(b"")
    assert f"wrote {NAME}.tar" in succeeded("repair", out, *on(cluster))
    assert snapshot(out) == whole


def test_worker_killed_amid_shard(
    small_file: Path, own_cluster: Cluster, tmp_path: Path, whole: dict[str, str]
) -> None:
    for _ in range(2):
        own_cluster.start_worker(*preload(tmp_path, HOLD))
    out = tmp_path / "out"
    with driver("bake", small_file, "-o", out, *on(own_cluster)) as process:
        wait_for(lambda: holder(tmp_path), process)
        os.kill(holder(tmp_path) or 0, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stderr) == (0, "")
    assert "baked 75 images in 12 shards" in stdout
    assert snapshot(out) == whole


def test_shard_that_kills_workers_is_reported(small_file: Path, own_cluster: Cluster, tmp_path: Path) -> None:
    own_cluster.start_worker(*preload(tmp_path, POISON))
    out = tmp_path / "out"
    done = fdsl("bake", small_file, "-o", out, *on(own_cluster))
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()
    assert line.startswith(f"fdsl: {out}: {NAME} failed: 127.0.0.1: 2 workers died on the same task")
    assert n_receipts(out) == 11
    assert "1 shard" in succeeded("bake", small_file, "-o", out, "--workers", 1)


def test_full_disk_of_a_worker_fails_its_shard(small_file: Path, own_cluster: Cluster, tmp_path: Path) -> None:
    """The line and the note name the worker's machine."""
    named = ("unshare", "--uts", "bash", "-c", 'hostname "$0"; exec "$@"', "node7")
    if subprocess.run([*named, "true"], capture_output=True, check=False).returncode:
        pytest.skip("naming a machine needs root with CAP_SYS_ADMIN")
    own_cluster.start_worker(*preload(tmp_path, FULL), prefix=named)
    out = tmp_path / "out"
    done = fdsl("bake", small_file, "-o", out, *on(own_cluster))
    reason = "node7: [Errno 28] No space left on device"
    assert done.stderr.splitlines()[-1] == f"fdsl: {out}: {NAME} failed: {reason}; finished shards are kept"
    assert (out / "receipts" / f"{NAME}.failed").read_text() == f"{reason}\n"
    assert n_receipts(out) == 11


def test_folder_that_workers_do_not_see(small_file: Path, baked: Path, own_cluster: Cluster, tmp_path: Path) -> None:
    """The workers have an empty disk in its place."""
    shared = tmp_path / "shared"
    shared.mkdir()
    if not can_mount(shared):
        pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    own_cluster.start_worker(prefix=hidden(shared))
    reason = rf"\(={shared}/out\) is not the same folder on \S+; name one that all machines share"
    line = refused("bake", small_file, "-o", shared / "out", *on(own_cluster))
    assert line.startswith("fdsl: `out` ")
    assert n_receipts(shared / "out") == 0
    shutil.copytree(baked, shared / "out", dirs_exist_ok=True)
    with pytest.raises(InputError, match=reason):
        verify(shared / "out", executor=DaskExecutor(own_cluster.address))
    with pytest.raises(InputError, match=reason):
        repair(shared / "out", executor=DaskExecutor(own_cluster.address))
    assert snapshot(shared / "out") == snapshot(baked)


def test_late_worker_that_does_not_see_the_folder(small_file: Path, own_cluster: Cluster, tmp_path: Path) -> None:
    """It would fail in milliseconds each shard that it gets, and get all that are left."""
    shared = tmp_path / "shared"
    shared.mkdir()
    if not can_mount(shared):
        pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    own_cluster.start_worker(*preload(tmp_path, HOLD))
    out, receipts = shared / "out", shared / "out" / "receipts"
    with driver("bake", small_file, "-o", out, *on(own_cluster)) as process:
        wait_for(lambda: holder(tmp_path), process)
        own_cluster.start_worker(prefix=hidden(shared))
        wait_for(lambda: process.poll() is not None or any(receipts.glob("*.failed")))
        (tmp_path / "go").touch()
        _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert error_line(stderr).startswith(f"fdsl: {socket.gethostname()} does not see the dataset: ")
    assert not any(receipts.glob("*.failed"))


def test_lost_scheduler_does_not_stop_a_bake(
    small_file: Path, own_cluster: Cluster, tmp_path: Path, whole: dict[str, str]
) -> None:
    own_cluster.start_worker(*preload(tmp_path, HOLD), prefix=FOREVER)
    out = tmp_path / "out"
    with driver("bake", small_file, "-o", out, *on(own_cluster)) as process:
        wait_for(lambda: holder(tmp_path), process)
        own_cluster.kill_scheduler()
        own_cluster.start_scheduler()
        (tmp_path / "go").touch()
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stderr) == (0, "")
    assert "the dataset is complete" in stdout
    assert snapshot(out) == whole


@pytest.mark.parametrize("command", ["bake", "verify", "repair"])
def test_no_scheduler_ends_a_command_at_once(
    command: str, small_file: Path, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["bake", small_file, "-o", tmp_path / "out"] if command == "bake" else [command, baked]
    with dask_config(distributed__comm__timeouts__connect="0.1s"):
        line = refused(*arguments, "--executor", "dask", "--scheduler", "tcp://127.0.0.1:1")
    assert line.startswith("fdsl: no Dask scheduler answers at tcp://127.0.0.1:1; fix this and run the same command")
    assert n_receipts(tmp_path / "out") == 0


def test_read_only_worker_is_named(small_file: Path, own_cluster: Cluster, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    if not can_mount(shared):
        pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && hostname n7; exec "$@"'
    own_cluster.start_worker(prefix=("unshare", "--mount", "--uts", "bash", "-c", mount, str(shared)))
    line = refused("bake", small_file, "-o", shared / "out", *on(own_cluster))
    assert ": Read-only file system on n7; fix this and run the same command again" in line


def test_ctrl_c_cancels_and_keeps_shards(
    small_file: Path, own_cluster: Cluster, tmp_path: Path, whole: dict[str, str]
) -> None:
    own_cluster.start_worker(*preload(tmp_path, HOLD))
    out = tmp_path / "out"
    with driver("bake", small_file, "-o", out, *on(own_cluster)) as process:
        wait_for(lambda: holder(tmp_path), process)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stdout) == (130, "")
    assert error_line(stderr).startswith("fdsl: interrupted; finished shards are kept")
    wait_for(lambda: own_cluster.n_tasks() == 0)
    (tmp_path / "go").touch()
    succeeded("bake", small_file, "-o", out, *on(own_cluster))
    assert snapshot(out) == whole


@pytest.mark.parametrize("has_locks", [True, False], ids=["locks", "no locks"])
def test_second_driver_is_refused_or_harmless(
    has_locks: bool, small_file: Path, own_cluster: Cluster, tmp_path: Path, whole: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for _ in range(2):
        own_cluster.start_worker(*preload(tmp_path, HOLD))
    out = tmp_path / "out"
    command = ("bake", small_file, "-o", out, *on(own_cluster))
    with driver(*command) as process:
        wait_for(lambda: holder(tmp_path), process)
        if has_locks:
            assert f"is being baked by process {process.pid} on " in refused(*command)
        else:
            monkeypatch.setattr(lock, "_take", refuse_locks)
            assert "the dataset is complete" in succeeded(*command)
        (tmp_path / "go").touch()
        _, stderr = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stderr) == (0, "")
    assert snapshot(out) == whole


def refuse_locks(file: int, first: int, n: int) -> bool:
    """Behave as a file system without locks."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--executor", "dask"], "--executor dask and --scheduler ADDRESS go together"),
        (["--scheduler", "tcp://h:1"], "--executor dask and --scheduler ADDRESS go together"),
        (["--executor", "dask", "--scheduler", "tcp://h:1", "--workers", "2"], "--workers goes with --executor local"),
    ],
)
def test_options_that_do_not_fit(options: list[str], line: str, tmp_path: Path) -> None:
    for command in (["bake", "rcdb-1k", "-o", tmp_path / "out"], ["verify", tmp_path], ["repair", tmp_path]):
        assert line in refused(*command, *options, status=2)
