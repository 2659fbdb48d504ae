"""The command `fdsl` in this process: the same code and messages, without starting a process."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cli


@contextlib.contextmanager
def signals_restored() -> Iterator[None]:
    """Restore the signal handlers that a command replaces."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def run_main(
    main: Callable[[], None], *arguments: object, on_terminal: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a program's main function with some arguments."""
    stdout, stderr = io.StringIO(), Terminal() if on_terminal else io.StringIO()
    old_arguments, status = sys.argv, 0
    sys.argv = ["fdsl", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), signals_restored():
            main()
    except SystemExit as stop:
        status = int(str(stop.code or 0))
    finally:
        sys.argv = old_arguments
    return subprocess.CompletedProcess(sys.argv, status, stdout.getvalue(), stderr.getvalue())


def fdsl(*arguments: object, cwd: Path | None = None, on_terminal: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `fdsl` in a folder."""
    with contextlib.chdir(cwd or Path.cwd()):
        return run_main(cli.main, *arguments, on_terminal=on_terminal)


def succeeded(*arguments: object, cwd: Path | None = None) -> str:
    """Return what a command prints; fail if it fails."""
    done = fdsl(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: object, cwd: Path | None = None, status: int = 1) -> str:
    """Return the error line of a command, which must fail."""
    done = fdsl(*arguments, cwd=cwd)
    assert done.returncode == status, done.stderr
    return error_line(done.stderr)


def error_line(stderr: str) -> str:
    """Return the error line. Only progress lines may precede it."""
    *progress, line = filter(None, stderr.splitlines())
    assert line.startswith("fdsl: "), stderr
    assert all(is_progress(text) for text in progress), stderr
    return line


def is_progress(line: str) -> bool:
    """Return whether a line shows progress."""
    return line.split(" ")[0] in ("search", "bake", "verify", "ship", "read", "render") and "/s" in line
