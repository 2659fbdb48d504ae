"""The command `fdsl`: parse, call, print."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fdsl.console import exits
from fdsl.console.cluster import ship, slurm, status, urls
from fdsl.console.exits import say
from fdsl.console.ladder import ladder
from fdsl.console.options import (
    CATEGORIES_FROM,
    EXECUTOR,
    LOG_JSON,
    NEW_OUT,
    OUT,
    QUIET,
    RERENDER,
    SCHEDULER,
    SEED,
    SHARDS,
    SPEC,
    SPLIT,
    STDOUT,
    VERSION,
    WORKERS,
    PathType,
    example,
    file_option,
    options,
    preset_names,
    specs,
)
from fdsl.console.pictures import preview, report, show
from fdsl.console.process import prepare, require_memory
from fdsl.console.work import Job, job

if TYPE_CHECKING:
    import pyarrow as pa

    from fdsl.dataset.spec import Spec


def _choose_seed(seed: int | None, rerender: int) -> int:
    if seed is not None and not rerender:
        raise click.UsageError("--seed goes with --rerender N")
    return secrets.randbits(32) if seed is None else seed


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, no_args_is_help=True)
@VERSION
def fdsl() -> None:
    """Bake image datasets from formulas into verified WebDataset shards.

    SPEC is a preset (`fdsl presets` lists them) or a YAML file.
    """
    require_memory()


@fdsl.command(epilog=example("fdsl presets rcdb-1k > mine.yaml"))
@click.argument("name", required=False, shell_complete=preset_names)
def presets(name: str | None) -> None:
    """List the presets, or print one as YAML."""
    from fdsl.dataset.sources import load_spec, preset_text, presets

    if name is not None:
        click.echo(preset_text(name), nl=False)
        return
    for preset in presets():
        spec = load_spec(preset)
        say(
            f"{preset:22}{spec.family:11}{spec.size_px} px  {spec.categories:6,} categories x {spec.instances.train:5,} train"
            f" + {spec.instances.validation:2} validation images"
        )


@fdsl.command(epilog=example("fdsl sample exfractaldb-1k --categories 100 -o categories.parquet"))
@click.argument("spec", required=False, shell_complete=specs)
@file_option(".parquet", required=False)
@click.option("--categories", type=int, help="Number of categories; the spec's by default.")
@click.option("--seed", type=int, help="Seed; the spec's by default.")
@click.option(
    "--from-csv",
    type=PathType(file_okay=False, exists=True),
    help="Import the authors' CSV files instead: ExFractalDB's 000000.csv, ... or RCDB's 00000.csv, ...",
)
@click.option("--to-csv", type=PathType(file_okay=False), help="Write the authors' CSV files into a new folder too.")
@options(WORKERS, QUIET, LOG_JSON)
def sample(
    spec: str | None, out: Path | None, categories: int | None, seed: int | None,
    from_csv: Path | None, to_csv: Path | None, workers: int | None, quiet: bool, log_json: Path | None,
) -> None:  # fmt: skip
    """Sample category parameters into a table.

    For ExFractalDB, draws random systems and keeps those whose attractor varies enough along every axis.
    """
    from fdsl.console.progress import count
    from fdsl.dataset.families import published_csv
    from fdsl.dataset.sources import load_spec
    from shards.files import refuse_used
    from shards.published import read_csv, write_categories

    if (spec is None) == (from_csv is None) or (out is None and to_csv is None):
        raise click.UsageError("give either SPEC or --from-csv, and -o or --to-csv or both")
    if from_csv is not None and (quiet or (categories, seed, workers, log_json) != (None, None, None, None)):
        raise click.UsageError("--from-csv goes with -o and --to-csv only; the other options go with SPEC")
    if out is not None and to_csv is not None and to_csv.absolute() in out.absolute().parents:
        raise click.UsageError("-o must not be in the folder of --to-csv")
    if to_csv is not None:
        refuse_used(to_csv)
    if from_csv is not None:
        table, origin = read_csv(from_csv), f"read from {from_csv}"
    elif spec is not None:
        loaded = load_spec(spec)
        if to_csv is not None:
            published_csv(loaded.family)
        changes = {name: value for name, value in (("categories", categories), ("seed", seed)) if value is not None}
        with job(workers, quiet, log_json, out, to_csv) as work:
            table, origin = _search(loaded.replace(**changes), work)
    write_categories(table, out, to_csv)
    say(f"{count(table.num_rows, 'category')} {origin}: {' and '.join(str(path) for path in (out, to_csv) if path)}")


def _search(spec: Spec, work: Job) -> tuple[pa.Table, str]:
    from shards.searching import search_categories

    result = search_categories(spec, work.executor, work.progress)
    return result.table, f"of {result.n_tried:,} candidates ({result.acceptance:.2%} accepted)"


@fdsl.command(epilog=example("fdsl plan exfractaldb-21k --workers 64"))
@SPEC
@click.option("--workers", type=click.IntRange(1), help="Number of processes in all; one per processor by default.")
def plan(spec: str, workers: int | None) -> None:
    """Print the size and cost of a bake; writes nothing."""
    from fdsl.console.results import plan_lines
    from fdsl.dataset.sources import load_spec
    from fdsl.reports.estimate import estimate
    from shards.card import few_shards_warning, many_shards_warning
    from shards.claiming import categories_beside
    from shards.executors.local import LocalExecutor

    loaded = load_spec(spec)
    cost = estimate(loaded, categories_beside(spec))
    for line in plan_lines(loaded, cost, workers or LocalExecutor().n_workers):
        say(line)
    few = few_shards_warning(loaded.categories, cost.n_shards["train"])
    for warning in filter(None, (few, many_shards_warning(sum(cost.n_shards.values())))):
        say(f"warning: {warning}", err=True)


@fdsl.command(epilog=example("fdsl bake exfractaldb-1k -o data/ex1k --workers 8"))
@SPEC
@options(NEW_OUT, CATEGORIES_FROM, WORKERS, EXECUTOR, SCHEDULER, SHARDS, SPLIT, QUIET, LOG_JSON)
def bake(
    spec: str, out: Path | str, categories_from: Path | None, workers: int | None, executor: str, scheduler: str | None,
    shards: str | None, split: str, quiet: bool, log_json: Path | None,
) -> None:  # fmt: skip
    """Bake the missing shards of a dataset.

    Run the same command again to resume after an interruption. Several machines can share a directory, each with its
    --part K/N; the one that completes it writes the index.
    """
    from fdsl.console.results import baked_lines, failure_line
    from fdsl.dataset.sources import load_spec
    from shards.baking import bake
    from shards.claiming import categories_beside

    loaded, given = load_spec(spec), categories_from or categories_beside(spec)
    with job(workers, quiet, log_json, out, executor=executor, scheduler=scheduler) as work:
        result = bake(
            loaded, out, categories=given, executor=work.executor, split=split, shards=shards, listener=work.progress
        )
        rate = work.progress.rate
    for line in baked_lines(out, result, rate):
        say(line)
    if result.failures:
        raise click.ClickException(failure_line(out, result.failures))
    if result.n_missing and (shards, split) == (None, "all"):
        raise click.ClickException(f"{out}: some shards were deleted during the bake; run the same command again")


@fdsl.command(epilog=example("fdsl verify data/quickstart-rcdb --rerender 200"))
@OUT
@options(WORKERS, EXECUTOR, SCHEDULER, SHARDS, SPLIT, RERENDER, SEED, QUIET, LOG_JSON)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(
    out: Path | str, workers: int | None, executor: str, scheduler: str | None, shards: str | None, split: str,
    rerender: int, seed: int | None, quiet: bool, log_json: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Check every shard; exit 1 and list the problems, if any.

    OUT is a folder or a URL: s3://BUCKET/FOLDER. Empty, full and duplicate images are reported as notes: the formulas can
    produce them.
    """
    from fdsl.console.results import next_step, verified_json, verified_lines
    from shards.verifying import verify

    seed = _choose_seed(seed, rerender)
    if as_json and log_json == STDOUT:
        raise click.UsageError("--json and --log-json - both write to standard output; name a file for --log-json")
    with job(workers, quiet, log_json, out, executor=executor, scheduler=scheduler) as work:
        result = verify(
            out,
            executor=work.executor,
            split=split,
            shards=shards,
            rerender=rerender,
            seed=seed,
            listener=work.progress,
        )
    for line in verified_json(result, seed) if as_json else verified_lines(out, result, seed):
        say(line)
    if result.problems:
        raise click.ClickException(next_step(out, result, rerender, seed, shards, split))


@fdsl.command(epilog=example("fdsl repair data/quickstart-rcdb --dry-run"))
@OUT
@click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
@options(CATEGORIES_FROM, WORKERS, EXECUTOR, SCHEDULER, SHARDS, SPLIT, RERENDER, SEED, QUIET, LOG_JSON)
def repair(
    out: Path | str, dry_run: bool, categories_from: Path | None, workers: int | None, executor: str,
    scheduler: str | None, shards: str | None, split: str, rerender: int, seed: int | None, quiet: bool,
    log_json: Path | None,
) -> None:  # fmt: skip
    """Bake missing and wrong shards again, to the same bytes.

    OUT is a folder or a URL: s3://BUCKET/FOLDER. Unbaked shards count as missing. Files named like shards but not in the
    plan are deleted.
    """
    from fdsl.console.results import failure_line, repaired_lines
    from shards.repairing import repair

    with job(workers, quiet, log_json, out, executor=executor, scheduler=scheduler) as work:
        result = repair(
            out, categories=categories_from, executor=work.executor, split=split, shards=shards,
            rerender=rerender, seed=_choose_seed(seed, rerender), dry_run=dry_run, listener=work.progress,
        )  # fmt: skip
    for line in repaired_lines(out, result, dry_run):
        say(line)
    if result.failures:
        raise click.ClickException(failure_line(out, result.failures))
    if result.foreign:
        raise click.ClickException(
            f"{out}: not touched, as they may be your own files: {', '.join(result.foreign)}; move or delete them"
        )


for _command in (ladder, preview, report, show, slurm, status, ship, urls):
    fdsl.add_command(_command)


def main() -> None:
    """Run `fdsl`."""
    prepare()
    exits.run(fdsl)


if __name__ == "__main__":
    main()
