"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

P = ParamSpec("P")
Command = Callable[P, None]

SPEC = click.argument("spec")
OUT = click.argument("out", type=click.Path(path_type=Path))
NEW_OUT = click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Directory to bake into.")
CATEGORIES_FROM = click.option(
    "--categories-from", type=click.Path(path_type=Path), help="Take categories from a table of `fdsl sample`."
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1, 1024), help="Number of processes; one per processor by default."
)
SHARDS = click.option(
    "--shards", metavar="A:B", help="Only shards A to B-1, counted over the selected splits, train first."
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
QUIET = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
LOG_JSON = click.option(
    "--log-json", type=click.File("a", lazy=False), metavar="FILE", help="Append one JSON object per event to FILE."
)


def options(*decorators: Callable[[Command[P]], Command[P]]) -> Callable[[Command[P]], Command[P]]:
    """Return a decorator that adds several options, in order."""

    def decorate(command: Command[P]) -> Command[P]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def file_option(suffix: str, required: bool) -> Callable[[Command[P]], Command[P]]:
    """Return the option --out for a file of one type."""

    def check(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
        if path is not None and path.suffix != suffix:
            raise click.BadParameter(f"{str(path)!r} must end in {suffix}", context, parameter)
        return path

    return click.option(
        "-o",
        "--out",
        type=click.Path(path_type=Path),
        required=required,
        callback=check,
        help=f"{suffix} file to write.",
    )


def example(command: str) -> str:
    """Return the end of a help text: a command that works."""
    return f"\b\nExample:\n  {command}"
