"""The command `fdsl ladder`: whole experiments."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from fdsl.console.exits import say
from fdsl.console.options import LOG_JSON, QUIET, PathType, example, options


def ladder_names(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Return the shipped ladders that begin with what was typed."""
    from fdsl.ladders.ladder import shipped

    return [CompletionItem(name) for name in shipped() if name.startswith(typed)]


def ladders(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Return the matching ladders; the shell adds files.

    Files come first, as in `specs`.
    """
    return [CompletionItem(typed, type="file"), *ladder_names(context, parameter, typed)]


@click.group(epilog=example("fdsl ladder run transfer -o runs/transfer"))
def ladder() -> None:
    """Pre-train on rungs of datasets and measure the gain.

    A ladder is a whole experiment in one YAML file: datasets, models, real images, seeds. It needs torch and timm:
    pip install '.[train]' in a clone.
    """


@ladder.command("list", epilog=example("fdsl ladder list transfer > mine.yaml"))
@click.argument("name", required=False, shell_complete=ladder_names)
def list_ladders(name: str | None) -> None:
    """List the shipped ladders, or print one as YAML."""
    from fdsl.ladders.ladder import shipped
    from fdsl.primitives.errors import InputError
    from fdsl.primitives.validation import suggestion

    texts = shipped()
    if name is None:
        for title, text in texts.items():
            say(f"{title:16}{text.splitlines()[0].lstrip('# ')}")
    elif name in texts:
        click.echo(texts[name], nl=False)
    else:
        raise InputError(f"`name` (={name!r}) is not a shipped ladder; {suggestion(name, texts, 'shipped: {}')}")


@ladder.command(epilog=example("fdsl ladder run transfer -o runs/transfer --workers 2"))
@click.argument("source", metavar="LADDER", shell_complete=ladders)
@click.option("-o", "--out", type=PathType(file_okay=False), required=True, help="Folder of the results.")
@click.option(
    "--workers", type=click.IntRange(1, 256), default=1, show_default=True,
    help="Trainings at once, each on one thread and one GPU of CUDA_VISIBLE_DEVICES.",
)  # fmt: skip
@options(QUIET, LOG_JSON)
def run(source: str, out: Path, workers: int, quiet: bool, log_json: Path | None) -> None:
    """Run what is missing of a ladder.

    LADDER is a YAML file or a shipped one. Run the same command again to resume after an interruption. Renders the datasets
    from their formulas while it trains. The learning rate of each arm is searched on held-out training images; the test
    images are used once, for the result.
    """
    from fdsl.console.options import opened_log
    from fdsl.console.progress import Progress
    from fdsl.ladders.ladder import load_ladder
    from fdsl.ladders.running import run_ladder

    loaded = load_ladder(source)
    with opened_log(log_json, out) as log, Progress(quiet, log) as progress:
        run_ladder(loaded, out, workers, progress)
    say(f"{out}: all runs are finished; next: fdsl ladder report {out}")


@ladder.command(epilog=example("fdsl ladder report runs/transfer"))
@click.argument("out", type=PathType(file_okay=False))
def report(out: Path) -> None:
    """Print the tables of a ladder, as far as it is run.

    Writes them to OUT/report.md, a plot to report.png, and all commands to commands.sh.
    """
    from fdsl.ladders.report import write_report

    for line in write_report(out):
        say(line)
