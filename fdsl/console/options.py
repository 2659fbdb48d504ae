"""Options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TextIO

import click
from click.shell_completion import CompletionItem

P = ParamSpec("P")
Command = Callable[P, None]


STDOUT = Path("-")
"""Value of --log-json that means standard output."""


class PathType(click.Path):
    """A path that must not be empty.

    `Path("")` is the working directory.
    """

    def __init__(self, **rules: bool) -> None:
        super().__init__(path_type=Path, **rules)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; fail if it is empty."""
        if value == "":
            self.fail("'' must be a path; `.` is the working directory", param, ctx)
        return super().convert(value, param, ctx)


def preset_names(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Return the presets that begin with what was typed."""
    from fdsl.dataset.sources import presets

    return [CompletionItem(name) for name in presets() if name.startswith(typed)]


def specs(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Return the presets likewise, and let the shell add files.

    The request for files comes first: click's script for bash drops what came before it.
    """
    return [CompletionItem(typed, type="file"), *preset_names(context, parameter, typed)]


SPEC = click.argument("spec", shell_complete=specs)


class PlaceType(PathType):
    """A path, or the URL of a store.

    A URL stays a text: `Path` keeps one of its two slashes.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path or URL; fail if it is empty."""
        from shards.stores.places import is_url

        return value if is_url(value) else super().convert(value, param, ctx)


OUT = click.argument("out", type=PlaceType())
NEW_OUT = click.option(
    "-o",
    "--out",
    type=PlaceType(),
    required=True,
    help="Folder to bake into, or a URL: s3://BUCKET/FOLDER or ssh://USER@HOST/FOLDER.",
)
CATEGORIES_FROM = click.option(
    "--categories-from", type=PathType(), help="Take categories from a table of `fdsl sample`."
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1, 1024), help="Number of processes; one per processor by default."
)
EXECUTOR = click.option(
    "--executor",
    type=click.Choice(["local", "dask"]),
    default="local",
    show_default=True,
    help="Who does the work: processes of this machine, or a Dask cluster.",
)
SCHEDULER = click.option(
    "--scheduler", metavar="ADDRESS", help="Scheduler of --executor dask, such as tcp://HOST:8786."
)


def _only_one(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return the value of an option that may be given once.

    Click takes the last of several, so `--shards 0:1 --part 2/2` would bake other shards than those of the first.
    """
    if len(values) > 1:
        raise click.UsageError(
            f"{' or '.join(parameter.opts)} may be given once, not as {' and '.join(values)}", context
        )
    return values[0] if values else None


SHARDS = click.option(
    "--shards",
    "--part",
    multiple=True,
    callback=_only_one,
    metavar="A:B|K/N",
    help="Only shards A to B-1, or the K-th of N equal parts, counted over the selected splits, train first.",
)
SPLIT = click.option(
    "--split",
    type=click.Choice(["train", "validation", "all"]),
    default="all",
    show_default=True,
    help="Only this split.",
)
RERENDER = click.option(
    "--rerender", type=click.IntRange(0), default=0, metavar="N", help="Also render N images again and compare pixels."
)
SEED = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), help="Seed that selects the N images; drawn and printed if omitted."
)


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        from fdsl.console.exits import say
        from fdsl.version import version_lines

        for line in version_lines():
            say(line)
        context.exit()


VERSION = click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show versions, platform and kernel cache, and exit.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
LOG_JSON = click.option(
    "--log-json",
    type=PathType(allow_dash=True),
    metavar="FILE",
    help="Append one JSON object per event to FILE; `-` is standard output.",
)
PARTS = click.option(
    "--parts", type=click.IntRange(1), help="Number of equal parts; by default, so that each takes about ten minutes."
)
TASK_WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Processes, and so CPUs, of each task.",
)
ROUNDS = click.option(
    "--rounds",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Largest number of job arrays, this one included.",
)
SUBMIT = click.option("--submit", is_flag=True, help="Run the script instead of printing it.")


def options(*decorators: Callable[[Command[P]], Command[P]]) -> Callable[[Command[P]], Command[P]]:
    """Return a decorator that adds several options, in order."""

    def decorate(command: Command[P]) -> Command[P]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


@contextmanager
def opened_log(log: Path | None, *outputs: Path | str | None) -> Iterator[TextIO | None]:
    """Open the file of --log-json for appending.

    Refuses a file in one of the outputs, which may belong to the dataset.
    """
    if log is None or log == STDOUT:
        yield sys.stdout if log else None
        return
    for out in filter(None, outputs):
        if Path(os.path.realpath(log)).is_relative_to(os.path.realpath(str(out))):
            raise click.UsageError(f"--log-json (={log}) is in the output {out}; name a file elsewhere")
    try:
        file = log.open("a", encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--log-json (={log}) cannot be opened: {error.strerror}") from None
    try:
        yield file
    finally:
        with suppress(OSError):  # every event was flushed, so this error was already raised there
            file.close()


def file_option(*suffixes: str, required: bool) -> Callable[[Command[P]], Command[P]]:
    """Return the option --out for a file of some types."""

    def check(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
        if path is not None and path.suffix not in suffixes:
            raise click.BadParameter(f"{str(path)!r} must end in {' or '.join(suffixes)}", context, parameter)
        return path

    return click.option(
        "-o",
        "--out",
        type=PathType(),
        required=required,
        callback=check,
        help=f"{' or '.join(suffixes)} file to write.",
    )


def example(command: str) -> str:
    """Return the end of a help text: a command that works."""
    return f"\b\nExample:\n  {command}"
