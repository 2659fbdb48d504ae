"""The command `fdsl`: parse, call, print."""

from __future__ import annotations

import secrets
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from primitives.fields import InputError

SPEC = click.argument("spec")
CATEGORIES_FROM = click.option(
    "--categories-from", type=click.Path(path_type=Path), help="A table of `fdsl sample`, instead of sampling."
)
OUT = click.argument("out", type=click.Path(path_type=Path))
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    help="Processes; one per processor by default. The result does not depend on it.",
)
SHARDS = click.option(
    "--shards", "window", metavar="A:B", help="Only the shards A to B-1, counted over the chosen splits, train first."
)
SPLIT = click.option(
    "--split",
    type=click.Choice(["train", "validation", "all"]),
    default="all",
    show_default=True,
    help="Only this split.",
)


RERENDER = click.option(
    "--rerender", type=click.IntRange(0), default=0, metavar="N", help="Also render N images again, and compare pixels."
)
SEED = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), help="Chooses those N; drawn anew, and told, if not given."
)


def _seed(seed: int | None, rerender: int) -> int:
    if seed is not None and not rerender:
        raise click.UsageError("--seed goes with --rerender N")
    return secrets.randbits(32) if seed is None else seed


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _ending(suffix: str) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    """Refuse a file's name that does not say what will be in it, such as that of another file."""

    def check(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
        if path is not None and path.suffix != suffix:
            raise click.BadParameter(f"{str(path)!r} must end in {suffix}", context, parameter)
        return path

    return check


def _example(command: str) -> str:
    return f"\b\nExample:\n  {command}"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, no_args_is_help=True)
@click.version_option(package_name="fdsl", prog_name="fdsl")
def fdsl() -> None:
    """Bake ExFractalDB and RCDB, the image datasets that are rendered from formulas, into verified WebDataset shards.

    SPEC is the name of a preset (`fdsl presets` lists them) or a YAML file.
    """


@fdsl.command(epilog=_example("fdsl presets rcdb-1k > mine.yaml"))
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the built-in specs, or print the YAML of one, to copy and change."""
    from shards.spec import load_spec, preset_text, presets

    if name is not None:
        click.echo(preset_text(name), nl=False)
        return
    for each in presets():
        spec = load_spec(each)
        click.echo(
            f"{each:22}{spec.family:11}{spec.size_px} px  {spec.categories:6,} categories x {spec.instances.train:5,} train"
            f" + {spec.instances.validation:2} validation images"
        )


@fdsl.command(epilog=_example("fdsl sample exfractaldb-1k --categories 100 -o categories.parquet"))
@click.argument("spec", required=False)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), callback=_ending(".parquet"), help="The Parquet file to write."
)
@click.option("--categories", type=int, help="How many, instead of the spec's.")
@click.option("--seed", type=int, help="Instead of the spec's.")
@click.option(
    "--from-csv",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Import the authors' CSV files (000000.csv, ...) of ExFractalDB instead.",
)
@click.option(
    "--to-csv", type=click.Path(path_type=Path, file_okay=False), help="Write the table as the authors' CSV files too."
)
@WORKERS
def sample(
    spec: str | None, out: Path | None, categories: int | None, seed: int | None,
    from_csv: Path | None, to_csv: Path | None, workers: int | None,
) -> None:  # fmt: skip
    """Sample category parameters into a Parquet table.

    ExFractalDB's are searched: random systems of which those are kept whose attractor varies enough along each axis.
    """
    from shards.categories import export_csv, import_csv
    from shards.directory import write_table
    from shards.families import published_csv
    from shards.spec import load_spec

    if (spec is None) == (from_csv is None) or (out is None and to_csv is None):
        raise click.UsageError("give either SPEC or --from-csv, and -o or --to-csv or both")
    if from_csv is not None and (categories, seed) != (None, None):
        raise click.UsageError("--categories and --seed go with SPEC, not with --from-csv")
    if to_csv is not None and spec is not None:
        published_csv(load_spec(spec).family)
    if spec is None:
        table, found = import_csv("exfractal", from_csv), f"read from {from_csv}"
    else:
        table, found = _search(spec, categories, seed, workers)
    if out is not None:
        write_table(out, table)
    if to_csv is not None:
        export_csv(table, to_csv)
    click.echo(f"{table.num_rows:,} categories {found}: {' and '.join(str(path) for path in (out, to_csv) if path)}")


def _search(source: str, categories: int | None, seed: int | None, workers: int | None) -> tuple[Any, str]:
    from shards.categories import sample_categories
    from shards.spec import load_spec, override

    sampled = sample_categories(override(load_spec(source), categories, seed), workers, show=True)
    return sampled.table, f"of {sampled.tried:,} candidates ({sampled.acceptance:.2%} accepted)"


def _table_for(spec: Any, source: str, categories_from: Path | None) -> Any:
    """Return the categories that are given, or that stand beside a baked spec; None if they are to be sampled."""
    from shards.categories import read_table
    from shards.directory import table_beside

    return table_beside(source) if categories_from is None else read_table(spec, categories_from)


@fdsl.command(epilog=_example("fdsl plan exfractaldb-21k --workers 64"))
@SPEC
@WORKERS
def plan(spec: str, workers: int | None) -> None:
    """Say what a bake will make and cost, from a few images rendered now; nothing is written."""
    from shards.estimate import estimate
    from shards.index import few_shards_warning
    from shards.spec import load_spec
    from shards.workers import count_workers, duration

    loaded, n_workers = load_spec(spec), count_workers(workers)
    cost = estimate(loaded)
    click.echo(f"{loaded.name}: {loaded.family}, {loaded.categories:,} categories, {loaded.size_px} px")
    for split, n_images in cost.images.items():
        if n_images:
            click.echo(f"{split:11}{n_images:12,} images in {_count(cost.shards[split], 'shard')}")
    click.echo(f"bytes      {cost.n_bytes:12,} about ({cost.n_bytes / sum(cost.images.values()):,.0f} an image)")
    click.echo(
        f"time       {duration(cost.core_seconds / n_workers):>12} about, with"
        f" {_count(n_workers, 'worker')} as fast as one idle core here"
    )
    if cost.acceptance < 1:
        click.echo(f"accepted   {cost.acceptance:12.2%} of category candidates, about")
    if warning := few_shards_warning(loaded.categories, cost.shards["train"]):
        click.echo(f"warning: {warning}", err=True)


@fdsl.command(epilog=_example("fdsl preview rcdb-1k -o sheet.png --categories 4 --instances 8"))
@SPEC
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    callback=_ending(".png"),
    help="The PNG file to write.",
)
@click.option(
    "--categories", type=click.IntRange(1, 100), default=6, show_default=True, help="Rows: the first categories."
)
@click.option(
    "--instances", type=click.IntRange(1, 100), default=8, show_default=True, help="Columns: the first instances."
)
@CATEGORIES_FROM
def preview(spec: str, out: Path, categories: int, instances: int, categories_from: Path | None) -> None:
    """Render a labelled contact sheet, rows categories and columns instances."""
    from shards.categories import sample_categories
    from shards.directory import write
    from shards.preview import contact_sheet, encode_sheet
    from shards.spec import load_spec, override

    loaded = load_spec(spec)
    table = _table_for(loaded, spec, categories_from)
    few = override(loaded, min(categories, loaded.categories), None)
    table = sample_categories(few).table if table is None else table.slice(0, few.categories)
    sheet = contact_sheet(few, table, min(instances, few.instances.train + few.instances.validation))
    write(out, encode_sheet(sheet))
    click.echo(f"{out}: {sheet.shape[1]} x {sheet.shape[0]} px")


@fdsl.command(epilog=_example("fdsl bake exfractaldb-1k -o data/ex1k --workers 8"))
@SPEC
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The directory to bake into.")
@CATEGORIES_FROM
@WORKERS
@SHARDS
@SPLIT
def bake(
    spec: str, out: Path, categories_from: Path | None, workers: int | None, window: str | None, split: str
) -> None:
    """Bake the shards that are missing from a directory; the same command goes on after an interruption.

    Several machines can share a directory by baking different --shards; whichever completes it writes the index.
    """
    from shards.bake import bake
    from shards.spec import load_spec

    loaded = load_spec(spec)
    table = _table_for(loaded, spec, categories_from)
    done = bake(loaded, out, table=table, workers=workers, split=split, window=window, show=True)
    if done.shards_found:
        click.echo(f"{out}: {_count(done.shards_found, 'shard')} there already, by their receipts")
    if done.shards:
        click.echo(
            f"{out}: baked {_count(done.images, 'image')} in {_count(done.shards, 'shard')}, {done.rate:,.0f} images/s"
        )
    if done.shards_left:
        click.echo(
            f"{_count(done.shards_left, 'shard')} of the dataset still to be baked:"
            " the same command without --shards and --split does it"
        )
    else:
        click.echo(f"the dataset is complete; next: fdsl verify {shlex.quote(str(out))}")


@fdsl.command(epilog=_example("fdsl verify data/quickstart-rcdb --rerender 200"))
@OUT
@WORKERS
@SHARDS
@SPLIT
@RERENDER
@SEED
def verify(out: Path, workers: int | None, window: str | None, split: str, rerender: int, seed: int | None) -> None:
    """Check every shard of a directory against its receipt and its content; exit 1 and list what is wrong.

    Images that are empty, full, or equal to another one are told, too; a formula may give such.
    """
    from shards.verify import verify

    seed = _seed(seed, rerender)
    found = verify(out, workers=workers, split=split, window=window, rerender=rerender, seed=seed, show=True)
    for line in (*(f"note: {note}" for note in found.notes), *found.problems):
        click.echo(line)
    if found.rerendered:
        click.echo(f"rendered {_count(found.rerendered, 'image')} again, chosen by --seed {seed}")
    if found.problems:
        same = (f" --rerender {rerender} --seed {seed}" * bool(rerender)) + (f" --shards {window}" * bool(window))
        same += f" --split {split}" * (split != "all")
        raise click.ClickException(
            f"{out}: {_count(len(found.problems), 'problem')}; next: fdsl repair {shlex.quote(str(out))}{same}"
        )
    click.echo(f"{out}: {_count(found.images, 'image')} in {_count(found.shards, 'shard')} are right")


@fdsl.command(epilog=_example("fdsl repair data/quickstart-rcdb --dry-run"))
@OUT
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@CATEGORIES_FROM
@WORKERS
@SHARDS
@SPLIT
@RERENDER
@SEED
def repair(
    out: Path, dry_run: bool, categories_from: Path | None, workers: int | None,
    window: str | None, split: str, rerender: int, seed: int | None,
) -> None:  # fmt: skip
    """Make again what `fdsl verify` finds missing or wrong, and only that, to the bytes of an undisturbed bake.

    Shards that were never baked are missing, too. Files that are named like shards and are not in the plan are removed.
    """
    from shards.directory import open_directory, other_versions
    from shards.repair import repair

    seed = _seed(seed, rerender)
    table = None if categories_from is None else _table_for(open_directory(out).spec, "", categories_from)
    done = repair(
        out, table=table, workers=workers, split=split, window=window,
        rerender=rerender, seed=seed, dry_run=dry_run, show=True,
    )  # fmt: skip
    for problem in done.problems:
        click.echo(problem)
    again = [*["categories.parquet"] * done.categories, *(f"{shard.name}.tar" for shard in done.made)]
    index = ["the index"] * done.index
    make, remove = ("would make again", "would remove") if dry_run else ("made again", "removed")
    for verb, names in ((remove, [path.name for path in done.removed]), (make, [*again, *index])):
        if names:
            click.echo(f"{out}: {verb}: {', '.join(names[:8])}{f' and {len(names) - 8:,} more' * (len(names) > 8)}")
    if again and (differs := other_versions(done.directory)):
        click.echo(f"note: what is made now is made with other versions than the rest: {differs}")
    if dry_run and done.categories:
        click.echo(f"{out}: would look at the shards after that")
    if not done.problems:
        click.echo(f"{out}: nothing to repair")
    if done.left:
        raise click.ClickException(
            f"{out}: left as they are, for they may be yours: {', '.join(done.left)}; move them elsewhere, or remove them"
        )


def _explain(error: OSError) -> str:
    where = f"`{error.filename}`: " if error.filename else ""
    return (
        f"{where}{error.strerror or error}; nothing that was whole is lost: mend this and give the same command again"
    )


_STOPS = (signal.SIGINT, signal.SIGTERM)
_CLEANING_S = 30


class Terminated(SystemExit):
    """SIGTERM, as an exception that lets everything clean up."""


def _stop(number: int, frame: FrameType | None) -> None:
    for each in _STOPS:
        signal.signal(each, signal.SIG_IGN)  # once is enough: asking again would only disturb the cleaning up
    signal.alarm(_CLEANING_S)  # which the system ends if it hangs
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(128 + number)


def _fail(message: str, status: int) -> NoReturn:
    click.echo(f"fdsl: {' '.join(message.split())}", err=True)
    sys.exit(status)


_NO_CACHE = (
    "numba can write its cache neither beside the code nor in your cache folder;"
    " set NUMBA_CACHE_DIR to a folder that only you can write"
)
_GO_ON = "the shards that are whole stay, and the same command goes on"


def _stopped(how: str) -> str:
    return f"{how}; {_GO_ON if {*sys.argv[1:2]} & {'bake', 'repair'} else 'nothing was written'}"


def main() -> None:
    """Run `fdsl`: exit 0 done, 1 failed, 2 wrong usage, 130 on Ctrl-C, 143 on SIGTERM; errors are one line."""
    for each in _STOPS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as it is where a shell runs a command in the background
            signal.signal(each, _stop)
    try:
        fdsl(standalone_mode=False)
        for each in _STOPS:
            signal.signal(each, signal.SIG_IGN)  # all is done and said
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "fdsl"
        _fail(f"{error.format_message().rstrip('.?')}; see `{command} -h`", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 1)
    except InputError as error:
        _fail(str(error), 1)
    except (click.Abort, KeyboardInterrupt):
        _fail(_stopped("interrupted"), 130)
    except Terminated as stop:
        _fail(_stopped("terminated"), int(str(stop.code)))
    except ChildProcessError as error:
        _fail(f"{error}; {_GO_ON}", 1)
    except OSError as error:
        _fail(_explain(error), 1)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        _fail(_NO_CACHE, 1)


if __name__ == "__main__":
    main()
