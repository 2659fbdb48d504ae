"""The pictures of a report."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.families import Image
from fdsl.dataset.plan import image_key
from fdsl.reports import findings
from fdsl.reports.histogram import format_number
from fdsl.reports.sample import Name, Sample, ink_share
from shards import png

_PICTURE_PX, _WEBP_QUALITY = 224, 40
"""Size and quality of a picture of the page, if its image is larger or has grey levels."""

_N_ROWS, _N_COLUMNS = 100, 8
"""Categories of the contact sheet, and images of each."""

_N_EXTREMES, _N_GROUPS, _N_ALIKE, _N_PAIRS, _N_OF_PAIR = 16, 8, 4, 8, 4


@dataclass(frozen=True)
class Picture:
    """An image of the page.

    Attributes
    ----------
    key : of the image
    source : its pixels, a data URL
    facts : its ink and its parameters, one line
    """

    key: str
    source: str
    facts: str


@dataclass(frozen=True)
class Group:
    """Pictures under a title."""

    title: str
    pictures: list[Picture]


def gallery(dataset: Dataset, sample: Sample, seed: int) -> dict[str, list[Group]]:
    """Return the pictures of each section; each image is rendered once."""
    n_rows = len(sample.categories)
    rows = np.sort(np.random.default_rng(seed).permutation(n_rows)[:_N_ROWS]).tolist()
    wanted = [(f"Category {sample.categories[row]}", sample.images_of(row)[:_N_COLUMNS]) for row in rows]
    emptiest, fullest = (select(sample, _N_EXTREMES) for select in (findings.emptiest, findings.fullest))
    alike = [("Equal", group[:_N_ALIKE]) for group in findings.duplicates(sample)[:_N_GROUPS]]
    pairs = [
        (f"Category {sample.categories[row]}, similarity {pair.similarity:.3f}", sample.images_of(row)[:_N_OF_PAIR])
        for pair in findings.similar_pairs(sample, _N_PAIRS)
        for row in pair.rows
    ]
    sections = {
        "sheet": wanted,
        "extremes": [("Least ink", emptiest), ("Most ink", fullest)],
        "duplicates": alike,
        "pairs": pairs,
    }
    all_names = {name for groups in sections.values() for _, names in groups for name in names}
    pictures = dict(_render(dataset, sorted(all_names)))
    return {
        section: [Group(title, [pictures[name] for name in names]) for title, names in groups]
        for section, groups in sections.items()
    }


def _render(dataset: Dataset, names: list[Name]) -> Iterator[tuple[Name, Picture]]:
    """Yield the picture of each image."""
    family = dataset.spec.family_module
    for name, (image, variant) in zip(names, dataset.images(names), strict=True):
        numbers = dict(zip(family.VARIANT_SCHEMA.names, variant, strict=True))
        facts = [f"ink {100 * ink_share(image, family.BACKGROUND):.3g} %"]
        facts += [f"{field} {format_number(value)}" for field, value in numbers.items()]
        yield name, Picture(image_key(*name), _data_url(image, family.BIT_DEPTH), ", ".join(facts))


def _data_url(image: Image, bit_depth: int) -> str:
    """Return an image as a data URL.

    A small one of one bit stays PNG; others become WebP.
    """
    if bit_depth == 1 and len(image) <= _PICTURE_PX:
        kind, content = "png", png.encode(image, bit_depth)
    else:
        n_px = min(len(image), _PICTURE_PX)
        small = cv2.resize(image, (n_px, n_px), interpolation=cv2.INTER_AREA)
        kind, content = "webp", bytes(cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY])[1])
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
