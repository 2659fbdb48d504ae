"""Each exception and signal ends the command with one line and its exit code."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import NoReturn

import click
import pytest

from fdsl import InputError, WorkerDied
from fdsl.console import exits
from tests.commands import run_main, signals_restored
from tests.processes import PATIENCE_S, hear_ctrl_c

RESUME = "finished shards are kept; run the same command again to resume"
NO_MEMORY = "memory ran out; raise its limit (`ulimit -v`), or use fewer --workers"


@pytest.fixture(autouse=True)
def hear_signals() -> Iterator[None]:
    """Let Ctrl-C work, which a shell's background job ignores."""
    with signals_restored():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield


def end_with(error: BaseException, command: str = "bake") -> subprocess.CompletedProcess[str]:
    """Run a command that raises."""

    @click.command()
    @click.argument("words", nargs=-1)
    def fail(words: tuple[str, ...]) -> NoReturn:
        raise error

    return run_main(lambda: exits.run(fail), command)


@pytest.mark.parametrize(
    ("error", "command", "status", "message"),
    [
        (InputError("`seed` (=-1) must be at least 0"), "bake", 1, "`seed` (=-1) must be at least 0"),
        (click.ClickException("2 problems\n  found"), "verify", 1, "2 problems found"),
        (click.UsageError("Missing option '-o'."), "bake", 2, "Missing option '-o'; see `fdsl -h`"),
        (KeyboardInterrupt(), "bake", 130, f"interrupted; {RESUME}"),
        (KeyboardInterrupt(), "repair", 130, f"interrupted; {RESUME}"),
        (KeyboardInterrupt(), "verify", 130, "interrupted; nothing was written"),
        (KeyboardInterrupt(), "ship", 130, f"interrupted; {RESUME}"),
        (click.Abort(), "bake", 130, f"interrupted; {RESUME}"),
        (exits.Terminated(143), "bake", 143, f"terminated; {RESUME}"),
        (exits.Terminated(143), "sample", 143, "terminated; nothing was written"),
        (WorkerDied("a worker died"), "bake", 1, f"a worker died; {RESUME}"),
        (WorkerDied("a worker died"), "verify", 1, "a worker died"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/x.tar"), "bake", 1,
            "`out/x.tar`: No space left on device; fix this and run the same command again; finished shards are kept",
        ),
        (
            OSError(errno.EACCES, "Permission denied"), "preview", 1,
            "Permission denied; fix this and run the same command again",
        ),
        (OSError("odd"), "sample", 1, "odd; fix this and run the same command again"),
        (MemoryError(), "bake", 1, NO_MEMORY),
        (ImportError("libarrow.so: failed to map segment from shared object"), "bake", 1, NO_MEMORY),
        (RuntimeError("can't start new thread"), "bake", 1, NO_MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "bake", 1, NO_MEMORY),
        (
            RuntimeError("cannot cache function 'f': no locator available for file 'x'"), "bake", 1,
            "numba can write its cache neither beside the code nor in your cache folder;"
            " set NUMBA_CACHE_DIR to a folder that only you can write",
        ),
    ],
)  # fmt: skip
def test_exception_is_one_line_and_code(error: BaseException, command: str, status: int, message: str) -> None:
    """After Ctrl-C, click ends the line in which the terminal shows ^C."""
    done = end_with(error, command)
    assert (done.returncode, done.stdout, done.stderr.lstrip("\n")) == (status, "", f"fdsl: {message}\n")


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), ImportError("no module"), ZeroDivisionError(), EOFError("Ran out of input")]
)
def test_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        end_with(error)


def raise_by_signal(number: int) -> subprocess.CompletedProcess[str]:
    """Run a command during which the process gets a signal."""
    return run_main(lambda: exits.run(click.Command("stop", callback=lambda: signal.raise_signal(number))))


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signal_is_one_line_and_code(number: int, status: int, word: str) -> None:
    done = raise_by_signal(number)
    assert (done.returncode, done.stderr.lstrip("\n")) == (status, f"fdsl: {word}; nothing was written\n")


def test_ignored_signal_stays_ignored() -> None:
    """A shell ignores Ctrl-C for a command that it starts in the background."""
    with signals_restored():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        done = raise_by_signal(signal.SIGINT)
    assert (done.returncode, done.stderr) == (0, "")


def test_second_signal_does_not_disturb_cleanup() -> None:
    cleaned = []

    def stop() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)

    done = run_main(lambda: exits.run(click.Command("stop", callback=stop)))
    assert (done.returncode, cleaned) == (143, [True])


def test_signal_after_success_changes_nothing() -> None:
    def succeed_and_wait() -> None:
        exits.run(click.Command("succeed", callback=lambda: None))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    assert run_main(succeed_and_wait).returncode == 0


def test_signal_during_the_error_line_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted_say(line: str, err: bool = False) -> None:
        signal.raise_signal(signal.SIGINT)
        say(line, err)

    say = exits.say
    monkeypatch.setattr(exits, "say", interrupted_say)
    done = end_with(InputError("`seed` (=-1) must be at least 0"))
    assert (done.returncode, done.stderr) == (1, "fdsl: `seed` (=-1) must be at least 0\n")


HANG = """
import os, signal, threading, click
from fdsl.console import exits
def hang():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        threading.Event().wait()
exits._CLEANUP_S = 1
exits.run(click.Command("hang", callback=hang))
"""


@pytest.mark.slow
def test_hanging_cleanup_is_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANG],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        preexec_fn=hear_ctrl_c,
    )
    assert done.returncode == -signal.SIGALRM
