"""The commands for many machines: slurm, status, ship, urls."""

from __future__ import annotations

import time
from pathlib import Path

import click

from fdsl.console.exits import say
from fdsl.console.options import (
    CATEGORIES_FROM,
    LOG_JSON,
    NEW_OUT,
    OUT,
    PARTS,
    QUIET,
    ROUNDS,
    SPEC,
    SUBMIT,
    TASK_WORKERS,
    example,
    options,
)  # fmt: skip
from fdsl.console.work import job

_WATCH_S = 5.0
"""Time between two prints of `fdsl status --watch`."""


@click.command(epilog=example("fdsl slurm rcdb-21k -o data/rcdb-21k --submit -- --time=1:00:00"))
@SPEC
@options(NEW_OUT, CATEGORIES_FROM, PARTS, TASK_WORKERS, ROUNDS, SUBMIT, QUIET)
@click.argument("sbatch_options", nargs=-1)
def slurm(
    spec: str, out: Path | str, categories_from: Path | None, parts: int | None, workers: int, rounds: int,
    submit: bool, quiet: bool, sbatch_options: tuple[str, ...],
) -> None:  # fmt: skip
    """Print a script that bakes the missing shards with Slurm.

    A job array bakes the parts that have missing shards. A second job follows. It submits the parts that still miss shards,
    at most --rounds times in all. When none is missing, it writes the index. Options for sbatch follow `--`.

    The command itself writes the spec and the categories into OUT.
    """
    from fdsl.console.slurm import require_parts, slurm_script
    from fdsl.dataset.sources import load_spec
    from shards.baking import prepare
    from shards.claiming import categories_beside
    from shards.executors import slurm

    loaded, given = load_spec(spec), categories_from or categories_beside(spec)
    require_parts(loaded, parts or 1)
    with job(workers, quiet, None) as work:
        directory = prepare(loaded, out, categories=given, executor=work.executor, listener=work.progress)
    script = slurm_script(directory, spec, out, parts, workers, rounds, sbatch_options)
    if submit:
        slurm.submit(script)
    else:
        click.echo(script, nl=False)


@click.command(epilog=example("fdsl status data/quickstart-rcdb"))
@OUT
@click.option("--watch", is_flag=True, help="Print again every few seconds, until the dataset is complete.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(out: Path | str, watch: bool, as_json: bool) -> None:
    """Show how far a bake is, on any machine.

    OUT is a folder or a URL: s3://BUCKET/FOLDER. Counts the receipts in OUT and uses the times at which they were stored.
    Reads no shard: `fdsl verify` does.
    """
    from fdsl.console.results import status_json, status_lines
    from shards.status import read_status

    while True:
        now = read_status(out)
        if watch and not as_json:
            click.clear()  # on a terminal only
        for line in status_json(now, indent=None if watch else 1) if as_json else status_lines(out, now):
            say(line)
        if not watch or now.is_complete:
            return
        time.sleep(_WATCH_S)


@click.command(epilog=example("fdsl ship data/quickstart-rcdb s3://bucket/rcdb"))
@OUT
@click.argument("destination")
@click.option("--follow", is_flag=True, help="Continue until a bake of OUT that still runs is complete.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Number of shards sent at once."
)
@click.option(
    "--remove-local",
    is_flag=True,
    help="Delete each shard's files in OUT once they are at DESTINATION; keep its receipt.",
)
@options(QUIET, LOG_JSON)
def ship(
    out: Path | str,
    destination: str,
    follow: bool,
    workers: int,
    remove_local: bool,
    quiet: bool,
    log_json: Path | None,
) -> None:
    """Copy the finished shards of a dataset to another place.

    DESTINATION is a folder, s3://BUCKET/FOLDER or ssh://USER@HOST:PORT/FOLDER; so may OUT be. Run the same command again to
    resume after an interruption. The copy can be checked without fdsl: sha256sum --check SHA256SUMS.
    """
    from fdsl.console.progress import duration
    from fdsl.console.results import failure_line, shipped_lines
    from shards.shipping import PATIENCE_S, ship

    with job(workers, quiet, log_json, out, Path(destination)) as work:
        result = ship(
            out, destination, executor=work.executor, follow=follow, remove_local=remove_local, listener=work.progress
        )
    for line in shipped_lines(destination, result, follow):
        say(line)
    if result.failures:
        raise click.ClickException(failure_line(out, result.failures))
    if follow and not result.is_complete:
        raise click.ClickException(
            f"{out}: nobody has baked a shard for {duration(PATIENCE_S)}; resume the bake, then run this command again"
        )


@click.command(epilog=example("fdsl urls s3://bucket/rcdb"))
@click.argument("destination")
@click.option(
    "--split", type=click.Choice(["train", "validation"]), default="train", show_default=True, help="Only this split."
)
@click.option("--base", metavar="URL", help="Where loaders find DESTINATION, if elsewhere: http://HOST/FOLDER.")
def urls(destination: str, split: str, base: str | None) -> None:
    """Print the shards of a split as one URL for webdataset."""
    from shards.urls import loader_urls

    say(loader_urls(destination, split, base))
