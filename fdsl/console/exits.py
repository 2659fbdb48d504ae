"""Turns signals and exceptions into one line and an exit code."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from fdsl.primitives.errors import PLATFORMS, InputError, machine_of, one_line, printable

_STOPS = (signal.SIGINT, signal.SIGTERM)
_CLEANUP_S = 30

_KEPT = dict.fromkeys(("bake", "repair", "ship", "slurm"), "finished shards are kept") | {
    "ladder": "finished runs are kept"
}
"""What the resumable commands keep."""

_RESUME = "run the same command again to resume"
_RETRY = "fix this and run the same command again"
_NO_MEMORY = "memory ran out; raise its limit (`ulimit -v`), or use fewer --workers"
_NO_CACHE = (
    "numba can write its cache neither beside the code nor in your cache folder;"
    " set NUMBA_CACHE_DIR to a folder that only you can write"
)

_CAUSES = {
    "cannot cache": _NO_CACHE,
    "failed to map segment": _NO_MEMORY,
    "annot allocate memory": _NO_MEMORY,
    "can't start new thread": _NO_MEMORY,
}
"""Lines for errors of libraries that have no class of their own, by a part of their text."""


class Terminated(SystemExit):
    """SIGTERM as an exception, so that everything is cleaned up."""


def run(command: click.Command) -> None:
    """Run a command.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM.
    """
    if sys.platform == "win32":
        _fail(PLATFORMS, 1)
    for number in _STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell ignores them for a background command
            signal.signal(number, _stop)
    try:
        command(prog_name="fdsl", standalone_mode=False)
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "fdsl"
        _fail(f"{error.format_message().rstrip('.?')}; see `{path} -h`", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except InputError as error:
        _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt) as stop:
        if isinstance(stop.__cause__, EOFError):  # click handles it as Ctrl-D at a prompt
            raise stop.__cause__ from None
        _fail(_after_stop("interrupted"), 130)
    except Terminated as stop:
        _fail(_after_stop("terminated"), int(str(stop.code)))
    except ChildProcessError as error:
        _fail(f"{error}; {kept}; {_RESUME}" if (kept := _kept()) else str(error), 1)
    except OSError as error:
        path = f"`{error.filename}`: " if error.filename else ""
        kept = f"; {_kept()}" if _kept() else ""
        where = f" on {machine}" if (machine := machine_of(error)) else ""
        _fail(_cause(error) or f"{path}{error.strerror or error}{where}; {_RETRY}{kept}", 1)
    except MemoryError:
        _fail(_NO_MEMORY, 1)
    except (ImportError, RuntimeError) as error:
        if (cause := _cause(error)) is None:
            raise
        _fail(cause, 1)


def _cause(error: Exception) -> str | None:
    """Return the line for a known error of a library, or None."""
    return next((line for text, line in _CAUSES.items() if text in str(error)), None)


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise once.

    Later signals are ignored, because they would disturb the clean-up. An alarm limits its time.
    """
    for stop in _STOPS:
        signal.signal(stop, signal.SIG_IGN)
    signal.alarm(_CLEANUP_S)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(128 + number)


def _kept() -> str:
    """Return what the running command keeps; empty if nothing."""
    return next((_KEPT[name] for name in sys.argv[1:2] if name in _KEPT), "")


def _after_stop(cause: str) -> str:
    return f"{cause}; {kept}; {_RESUME}" if (kept := _kept()) else f"{cause}; nothing was written"


def say(line: str, err: bool = False) -> None:
    """Print a line, with control characters escaped."""
    try:
        click.echo(printable(line), err=err)
    except OSError as error:
        error.filename = "standard error" if err else "standard output"
        raise


def _fail(message: str, status: int) -> NoReturn:
    """Print the error line and exit; signals no longer count."""
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    say(f"fdsl: {one_line(message)}", err=True)
    sys.exit(status)
