"""The commands that show images: preview, report, show."""

from __future__ import annotations

from pathlib import Path

import click

from fdsl.console.exits import say
from fdsl.console.options import CATEGORIES_FROM, QUIET, SPEC, example, file_option
from fdsl.console.work import job


@click.command(epilog=example("fdsl preview rcdb-1k -o a.png --categories 7,40:42 --sweep perlin=0:4:8"))
@SPEC
@file_option(".png", ".webp", required=True)
@click.option(
    "--categories",
    default="6",
    show_default=True,
    metavar="N|LIST",
    help="The first N, or a list such as 5,17,900:905, in which 900:905 is 900 to 904; 5:6 is number 5 alone.",
)
@click.option("--instances", metavar="N|LIST", help="Likewise, of each category; 8 by default, 1 with --sweep.")
@click.option("--sweep", metavar="NAME=LOW:HIGH:N", help="Change one parameter in N steps: a column for each.")
@click.option("--turntable", is_flag=True, help="Turn each image once around its vertical axis, in an animation.")
@CATEGORIES_FROM
@QUIET
def preview(
    spec: str, out: Path, categories: str, instances: str | None, sweep: str | None, turntable: bool,
    categories_from: Path | None, quiet: bool,
) -> None:  # fmt: skip
    """Render a contact sheet, a sweep or a turntable.

    SPEC may be a baked directory, too. A sheet has a row per category and a column per instance, as a PNG file. With --sweep,
    it has a row per image and a column per value of a parameter; everything else is equal. A turntable is a WebP file; only
    families of solids, such as exfractal, have one.
    """
    from fdsl.reports import preview as pictures
    from fdsl.reports.selection import select_numbers
    from fdsl.reports.sweep import parse_sweep, sweep_sheet
    from shards.files import write_file
    from shards.opening import open_some

    if turntable != (out.suffix == ".webp"):
        raise click.UsageError("--turntable goes with -o NAME.webp, everything else with -o NAME.png")
    if turntable and sweep is not None:
        raise click.UsageError("--turntable and --sweep do not go together")
    swept = None if sweep is None else parse_sweep(sweep)
    with job(None, quiet, None) as work:
        dataset, rows = open_some(
            spec, lambda n: select_numbers("categories", categories, n), categories_from, work.progress
        )
        columns = select_numbers("instances", instances or ("1" if swept else "8"), dataset.spec.instances.total)
        if turntable:
            frames = pictures.turntable(dataset, rows, columns, work.progress)
        elif swept:
            frames = [sweep_sheet(dataset, rows, columns, swept, work.progress)]
        else:
            frames = [pictures.contact_sheet(dataset, rows, columns, work.progress)]
    write_file(out, pictures.encode_turntable(frames) if turntable else pictures.encode_sheet(frames[0]))
    (height_px, width_px), n_frames = frames[0].shape, f"{len(frames)} frames of " if turntable else ""
    say(f"{out}: {n_frames}{width_px} x {height_px} px")


@click.command(epilog=example("fdsl report quickstart-rcdb -o report.html"))
@SPEC
@file_option(".html", required=True)
@click.option(
    "--categories", type=click.IntRange(1), default=1000, show_default=True, help="Number of categories to measure."
)
@click.option(
    "--instances", type=click.IntRange(1), default=8, show_default=True, help="Number of images of each of them."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed that selects them.")
@QUIET
def report(spec: str, out: Path, categories: int, instances: int, seed: int, quiet: bool) -> None:
    """Write a page with pictures and statistics.

    SPEC may be a baked directory or its URL, too. The page is one HTML file that needs no network. It has a contact sheet,
    histograms of images and parameters, extreme images, duplicates and similar categories. It measures a sample of the
    images and shows up to 100 categories of it. Parameters of images come from all tables of a baked directory.
    """
    from fdsl.reports.report import report
    from shards.files import write_file

    with job(None, quiet, None) as work:
        page = report(spec, categories=categories, instances=instances, seed=seed, listener=work.progress).encode()
    write_file(out, page)
    say(f"{out}: {len(page) / 1e6:.1f} MB")


@click.command(epilog=example("fdsl show quickstart-rcdb 000007_000012 -o image.png"))
@SPEC
@click.argument("key", required=False)
@file_option(".png", required=False)
def show(spec: str, key: str | None, out: Path | None) -> None:
    """Show an image by its key, or the hashes of a dataset.

    SPEC may be a baked directory, too; nothing needs to be baked. Prints the parameters of image KEY, its place in the
    shards, and the Python that renders it. Without KEY, prints what two people compare to know that they mean the same.
    """
    from fdsl.console.results import dataset_lines, image_lines
    from fdsl.dataset.live import find_image
    from shards.files import write_file
    from shards.opening import open_dataset
    from shards.png import encode

    if key is None:
        if out is not None:
            raise click.UsageError("-o goes with KEY")
        for line in dataset_lines(open_dataset(spec)):
            say(line)
        return
    live, position = find_image(open_dataset(spec), key)
    for line in image_lines(spec, live, position):
        say(line)
    if out is not None:
        image, _ = live[position]
        write_file(out, encode(image, live.dataset.spec.family_module.BIT_DEPTH))
