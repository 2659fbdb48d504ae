"""A sample of a dataset's images, and what is measured on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fdsl.dataset.dataset import Dataset
from fdsl.dataset.families import Image
from fdsl.primitives.errors import InputError
from fdsl.primitives.validation import check_whole_number
from fdsl.reports.histogram import Histogram
from shards import png
from shards.events import Advanced, Finished, Listener, Started, ignore

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Name = tuple[int, int]
"""Category and instance of an image."""

EDGE_LEVELS = 32
"""Two neighbouring pixels are an edge if their grey levels differ by more than this."""

_SPECTRUM_PX = 32
"""Size to which an image is reduced for its spectrum, px."""

_STEP = 256
"""Images between two progress events."""

_MOST = 1_000_000
"""Images of a sample: what is measured on them stays in memory."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some images of some categories, measured.

    Attributes
    ----------
    names : the images; those of a category follow one another
    n_instances : images per category
    ink : float64 (images,), 0..1; share of the pixels that are not background
    edges : float64 (images,), 0..1; share of the pairs of neighbouring pixels that differ by more than EDGE_LEVELS
    n_bytes : int64 (images,); size of the PNG file
    digests : list of bytes (images,); equal for equal images
    spectra : float32 (categories, values); mean over a category's images of log(1 + amplitude) of their Fourier transforms.
        They do not change if an image is shifted.
    parameters : of the images, by name
    """

    names: list[Name]
    n_instances: int
    ink: Floats
    edges: Floats
    n_bytes: Integers
    digests: list[bytes]
    spectra: npt.NDArray[np.float32]
    parameters: dict[str, Histogram]

    @property
    def categories(self) -> list[int]:
        """Categories of the sample, ascending."""
        return [category for category, _ in self.names[:: self.n_instances]]

    def images_of(self, row: int) -> list[Name]:
        """Return the images of the category in a row of `categories`."""
        return self.names[row * self.n_instances : (row + 1) * self.n_instances]


def draw_names(dataset: Dataset, n_categories: int, n_instances: int, seed: int) -> list[Name]:
    """Draw some categories, and some images of each.

    They are in ascending order. All are taken if there are no more.

    Raises
    ------
    InputError
        A number is out of range, or there are more than 1,000,000 images.
    """
    check_whole_number("categories", n_categories, 1)
    check_whole_number("instances", n_instances, 1)
    check_whole_number("seed", seed, 0)
    spec, rng = dataset.spec, np.random.default_rng(seed)
    n_images = min(n_categories, spec.categories) * min(n_instances, spec.instances.total)
    if n_images > _MOST:
        raise InputError(
            f"`categories` x `instances` (={n_images:,} images) must be at most {_MOST:,}: measure fewer of either"
        )
    return [
        (category, instance)
        for category in _draw(rng, spec.categories, n_categories)
        for instance in _draw(rng, spec.instances.total, n_instances)
    ]


def _draw(rng: np.random.Generator, n: int, n_drawn: int) -> list[int]:
    """Draw different numbers below n, ascending."""
    numbers: list[int] = np.sort(rng.choice(n, min(n, n_drawn), replace=False)).tolist()
    return numbers


def measure(dataset: Dataset, names: list[Name], n_instances: int, listener: Listener = ignore) -> Sample:
    """Render and measure some images; holds a few at a time.

    Parameters
    ----------
    names : `n_instances` images of each category in turn
    """
    spec, family = dataset.spec, dataset.spec.family_module
    n = len(names)
    ink, edges, n_bytes = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    spectra = np.zeros((n // n_instances, _SPECTRUM_PX * (_SPECTRUM_PX // 2 + 1)), dtype=np.float32)
    digests, variants = [], []
    parameters = parameter_histograms(dataset)
    listener(Started("render", spec.name, "images", n))
    for k, (image, variant) in enumerate(dataset.images(names)):
        content = png.encode(image, family.BIT_DEPTH)
        ink[k], edges[k], n_bytes[k] = ink_share(image, family.BACKGROUND), _edge_share(image), len(content)
        spectra[k // n_instances] += _spectrum(image) / n_instances
        digests.append(hashlib.blake2b(content, digest_size=16).digest())
        variants.append(variant)
        if len(variants) == _STEP or k == n - 1:
            for histogram, column in zip(parameters.values(), zip(*variants, strict=True), strict=True):
                histogram.add(column)
            listener(Advanced(len(variants), "sample"))
            variants = []
    listener(Finished("render"))
    return Sample(names, n_instances, ink, edges, n_bytes, digests, spectra, parameters)


def parameter_histograms(dataset: Dataset) -> dict[str, Histogram]:
    """Return an empty histogram for each parameter of an image."""
    return {
        field.name: Histogram(pa.types.is_integer(field.type)) for field in dataset.spec.family_module.VARIANT_SCHEMA
    }


def ink_share(image: Image, background: int) -> float:
    """Return the share of the pixels that are not background, 0..1."""
    return np.count_nonzero(image != background) / image.size


def _edge_share(image: Image) -> float:
    """Return the share of neighbouring pixels that differ clearly."""
    pairs = (image[:, 1:], image[:, :-1]), (image[1:], image[:-1])
    n_edges = sum(np.count_nonzero(cv2.absdiff(*pair) > EDGE_LEVELS) for pair in pairs)
    return n_edges / sum(pair[0].size for pair in pairs)


def _spectrum(image: Image) -> npt.NDArray[np.float32]:
    """Return log(1 + amplitude) of an image's Fourier transform, without its mean."""
    small = cv2.resize(image, (_SPECTRUM_PX, _SPECTRUM_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.log1p(np.abs(np.fft.rfft2(small - small.mean()))).astype(np.float32).reshape(-1)
