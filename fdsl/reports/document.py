"""Writes the page of a report, HTML."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.spec import SPLITS
from fdsl.primitives.errors import InputError, extra_hint
from fdsl.reports.gallery import gallery
from fdsl.reports.histogram import Histogram
from fdsl.reports.sample import Sample
from fdsl.reports.stored import Stored
from fdsl.version import VERSION

try:
    import jinja2

    from fdsl.reports.charts import Chart, histogram_chart, histogram_charts, steps_svg
except ModuleNotFoundError as error:
    raise InputError(f"a report needs the package {error.name}; {extra_hint('report')}") from None

_PERCENT = " %"


def document(dataset: Dataset, sample: Sample, stored: Stored | None, seed: int, source: str) -> str:
    """Return the page of what was read and measured.

    Parameters
    ----------
    seed : that selected the sample
    source : what `fdsl show` takes to find the dataset; may be empty
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fdsl.reports", "page"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        spec=dataset.spec,
        facts=list(card_facts(dataset, stored)),
        spec_yaml=yaml.safe_dump(dataset.spec.to_mapping(), sort_keys=False),
        sample=sample,
        seed=seed,
        stored=stored,
        source=shlex.quote(source) if source else "",
        n_empty=np.count_nonzero(sample.ink == 0),
        n_full=np.count_nonzero(sample.ink == 1),
        version=VERSION,
        **gallery(dataset, sample, seed),
        **_charts(dataset, sample, stored),
    )


def card_facts(dataset: Dataset, stored: Stored | None) -> Iterator[tuple[str, str]]:
    """Yield the lines of the card."""
    spec, family = dataset.spec, dataset.spec.family_module
    yield (
        "Images",
        f"{sum(map(spec.n_images, SPLITS)):,}, {spec.size_px} x {spec.size_px} px, {family.BIT_DEPTH}-bit grey",
    )
    yield "Categories", f"{spec.categories:,}"
    for split in SPLITS:
        yield split.capitalize(), f"{spec.n_images(split):,} images, {spec.n_instances(split):,} per category"
    if stored is None:
        yield "Baked", "no: this page is made from the formula alone"
    elif stored.n_done == stored.n_shards:
        yield "Baked", f"{stored.n_shards:,} shards"
    else:
        yield "Baked", f"{stored.n_done:,} of {stored.n_shards:,} shards, {stored.n_images_done:,} images"
    yield "Family", family.TITLE
    yield "Licence", spec.license
    yield "Seed", f"{spec.seed}"
    yield "Hash", dataset.hash
    yield "Source", family.CITATION


def _charts(dataset: Dataset, sample: Sample, stored: Stored | None) -> dict[str, list[Chart]]:
    """Return the charts of each section."""
    ink, edges, n_bytes = Histogram(), Histogram(), Histogram(is_whole=True)
    ink.add(100 * sample.ink)
    edges.add(100 * sample.edges)
    n_bytes.add(sample.n_bytes)
    images = [
        histogram_chart("Ink, % of the pixels", ink, _PERCENT),
        histogram_chart("Edges, % of neighbouring pixels", edges, _PERCENT),
        histogram_chart("PNG file, bytes", n_bytes, " bytes"),
    ]
    shards = []
    for split, histogram in stored.tar_bytes.items() if stored else ():
        shards.append(histogram_chart(f"Shards of {split}, bytes", histogram, " bytes"))
    if stored and stored.rates:
        edges_s, rates = stored.rates.edges, stored.rates.images_per_s
        text = f"{rates.min():,.0f} to {rates.max():,.0f} images per second over {edges_s[-1]:,.0f} s"
        title = "Images per second, by seconds since the first receipt"
        shards.append(Chart(title, text, steps_svg(title, rates, edges_s)))
    parameters = stored.parameters if stored and stored.n_done else sample.parameters
    return {
        "image_charts": images,
        "shard_charts": shards,
        "category_charts": histogram_charts("categories", _category_parameters(dataset.table)),
        "parameter_charts": histogram_charts("images", parameters.items()),
    }


def _category_parameters(table: pa.Table) -> Iterator[tuple[str, Histogram]]:
    """Yield a histogram of each column of a categories table.

    A column of lists has one of their lengths and one of their numbers.
    """
    for name in table.column_names[2:]:
        column = table.column(name)
        if pa.types.is_list(column.type):
            yield f"{name}, how many", _histogram(pc.list_value_length(column))
        while pa.types.is_list(column.type):
            column = pc.list_flatten(column)
        yield name, _histogram(column)


def _histogram(column: pa.ChunkedArray) -> Histogram:
    """Return the histogram of a column, without its empty cells."""
    histogram = Histogram(pa.types.is_integer(column.type))
    histogram.add(column.drop_null().to_numpy())
    return histogram
