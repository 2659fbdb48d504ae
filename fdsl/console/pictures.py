"""The commands that show images: preview, report, show."""

from __future__ import annotations

from pathlib import Path

import click

from fdsl.console.exits import say
from fdsl.console.options import CATEGORIES_FROM, QUIET, SPEC, example, file_option
from fdsl.console.work import job


@click.command(epilog=example("fdsl preview rcdb-1k -o sheet.png --categories 4 --instances 8"))
@SPEC
@file_option(".png", required=True)
@click.option(
    "--categories",
    type=click.IntRange(1, 100),
    default=6,
    show_default=True,
    help="Number of rows; the first categories.",
)
@click.option(
    "--instances",
    type=click.IntRange(1, 100),
    default=8,
    show_default=True,
    help="Number of columns; the first instances.",
)
@CATEGORIES_FROM
def preview(spec: str, out: Path, categories: int, instances: int, categories_from: Path | None) -> None:
    """Render a contact sheet with one row per category."""
    from fdsl.dataset.categories import read_table
    from fdsl.dataset.dataset import Dataset
    from fdsl.dataset.sources import load_spec
    from fdsl.reports.preview import contact_sheet, encode_sheet
    from shards.claiming import categories_beside
    from shards.files import write_file
    from shards.searching import search_categories

    loaded = load_spec(spec)
    table = categories_beside(spec) if categories_from is None else read_table(categories_from)
    n_given = categories if table is None else max(1, table.num_rows)
    sheet_spec = loaded.replace(categories=min(categories, n_given, loaded.categories))
    if table is None:
        table = search_categories(sheet_spec).table
    dataset = Dataset(sheet_spec, table, str(categories_from or spec))
    sheet = contact_sheet(dataset, min(instances, sheet_spec.instances.train + sheet_spec.instances.validation))
    write_file(out, encode_sheet(sheet))
    say(f"{out}: {sheet.shape[1]} x {sheet.shape[0]} px")


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
