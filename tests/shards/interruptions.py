"""Bakes to interrupt, at moments seen in files and processes, never measured by a clock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import PATIENCE_S, EndedEarly, as_in_a_shell, descendants, read_proc, wait_for, workers_of
from tests.shards.conftest import FDSL, snapshot

N_SHARDS = 32
"""Shards of the dataset that takes a while."""

MAX_TRIES = 50
"""How often a bake may end before its moment comes."""

Fault = Callable[[subprocess.Popen[str]], None]
Moment = Callable[[subprocess.Popen[str], Path], bool]


def started(*command: str | Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run `fdsl` with two workers, as a shell does."""
    return as_in_a_shell(FDSL, *command, "--workers", "2")


def n_receipts(out: Path) -> int:
    """Return the number of finished shards."""
    return len(list(out.glob("receipts/[!.]*.json")))


def finished(out: Path) -> dict[str, str]:
    """Return files with their final names, and folders."""
    if not out.exists():
        return {}
    return {name: content for name, content in snapshot(out).items() if not Path(name).name.startswith(".")}


def workers_import(process: subprocess.Popen[str], out: Path) -> bool:
    """Return whether a worker has loaded numpy. It still has much to import."""
    return any(b"numpy" in read_proc(worker, "maps") for worker in workers_of(process.pid))


def workers_exist(process: subprocess.Popen[str], out: Path) -> bool:
    """Return whether both workers have been started."""
    return (out / "spec.yaml").exists() and len(workers_of(process.pid)) == 2


def shard_is_written(process: subprocess.Popen[str], out: Path) -> bool:
    """Return whether the hidden file of a shard exists."""
    return any(out.glob(".*.tar.*.tmp"))


def shards_done(n: int) -> Moment:
    """Return the moment at which `n` shards are done and workers bake the next ones."""
    return lambda process, out: n_receipts(out) >= n and workers_exist(process, out)


@dataclass
class Interrupted:
    """How a command ended, and the processes that it had."""

    status: int
    stdout: str
    stderr: str
    processes: set[int]


def interrupt(process: subprocess.Popen[str], moment: Callable[[], bool], fault: Fault) -> Interrupted | None:
    """Wait for a moment, then apply a fault. Return None if the command completes instead."""
    try:
        wait_for(moment, process)
    except EndedEarly:
        assert process.returncode == 0, process.communicate()
        return None
    processes = descendants(process.pid)
    fault(process)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    return Interrupted(process.returncode, stdout, stderr, processes) if process.returncode else None


def interrupted_bake(file: Path, out: Path, moment: Moment, fault: Fault) -> Interrupted:
    """Interrupt a bake. One that completes is deleted, and another one begins."""
    for _ in range(MAX_TRIES):
        with started("bake", file, "-o", out) as process:
            outcome = interrupt(process, lambda: moment(process, out), fault)
        if outcome is not None:
            return outcome
        shutil.rmtree(out)
    pytest.fail(f"{MAX_TRIES} bakes completed although they were interrupted")


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Send SIGINT to the whole group, as a terminal does."""
    os.killpg(process.pid, signal.SIGINT)


def keep_pressing_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C until the command ends."""
    while process.poll() is None:
        press_ctrl_c(process)


def interrupt_command_only(process: subprocess.Popen[str]) -> None:
    """Send SIGINT to the command, not to its workers."""
    process.send_signal(signal.SIGINT)


def terminate(process: subprocess.Popen[str]) -> None:
    """Send SIGTERM, as a batch system does."""
    process.terminate()


def kill(process: subprocess.Popen[str]) -> None:
    """Send SIGKILL."""
    process.kill()
