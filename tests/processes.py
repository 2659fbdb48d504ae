"""Processes in /proc, and waiting for a state."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 600.0
"""Last resort against a hang. No test waits for a time to pass."""

_POLL_S = 0.02


class EndedEarly(AssertionError):
    """A process ended before the state that a test waited for."""


def wait_for(state: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until a state holds. Raises EndedEarly if the process that leads to it ends first."""
    end = time.monotonic() + PATIENCE_S
    while not state():
        if process is not None and process.poll() is not None:
            raise EndedEarly(f"exit code {process.returncode}")
        assert time.monotonic() < end, "the state never came"
        time.sleep(_POLL_S)


def running() -> dict[int, int]:
    """Return the parent of each process that is not a zombie."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        state, _, rest = read_proc(int(entry.name), "stat").rpartition(b")")[2].strip().partition(b" ")
        if state and state not in b"ZX":
            parents[int(entry.name)] = int(rest.split()[0])
    return parents


def descendants(pid: int) -> set[int]:
    """Return the descendants of a process."""
    parents, below, todo = running(), set[int](), [pid]
    while todo:
        one = todo.pop()
        children = [child for child, parent in parents.items() if parent == one]
        below |= set(children)
        todo += children
    return below


def read_proc(pid: int, name: str) -> bytes:
    """Return a file of /proc/PID; empty once the process has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a command."""
    return sorted(child for child in descendants(pid) if b"LokyProcess" in read_proc(child, "cmdline"))


def kill_all(pids: set[int]) -> None:
    """Kill the processes that still run."""
    for pid in pids & set(running()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def hear_ctrl_c() -> None:
    """Let a new process hear Ctrl-C, which a shell's background jobs ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def as_in_a_shell(*command: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process group of its own that hears Ctrl-C; kill what is left of it."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    ) as process:
        try:
            yield process
        finally:
            kill_all(descendants(process.pid) | {process.pid})
