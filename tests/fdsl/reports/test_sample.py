"""A sample is seeded, its measures are what they say, and what stands out is found."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pyarrow as pa
import pytest

from fdsl import Dataset, InputError, Spec
from fdsl.reports.findings import duplicates, emptiest, fullest, similar_pairs
from fdsl.reports.sample import Sample, draw_names, measure
from shards import png
from tests.shards.conftest import small_spec


@pytest.fixture(scope="module")
def dataset(spec: Spec, table: pa.Table) -> Dataset:
    return Dataset(spec, table)


@pytest.fixture(scope="module")
def sample(dataset: Dataset) -> Sample:
    return measure(dataset, draw_names(dataset, 4, 6, 1), 6)


def test_sample_is_seeded_and_sorted(dataset: Dataset) -> None:
    names = draw_names(dataset, 4, 6, 1)
    assert names == draw_names(dataset, 4, 6, 1) == sorted(set(names))
    assert names != draw_names(dataset, 4, 6, 2)
    assert len({category for category, _ in names}) == 4
    assert all(0 <= category < 5 and 0 <= instance < 15 for category, instance in names)
    assert draw_names(dataset, 1000, 1000, 0) == [
        (category, instance) for category in range(5) for instance in range(15)
    ]


@pytest.mark.parametrize("numbers", [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_bad_numbers_are_refused(numbers: tuple[int, int, int], dataset: Dataset) -> None:
    with pytest.raises(InputError, match=r"^`(categories|instances|seed)` \(=.*\) must be a whole number of at least"):
        draw_names(dataset, *numbers)


def test_sample_larger_than_memory_is_refused(dataset: Dataset) -> None:
    """The images count that the dataset has, not those that were wanted."""
    spec = dataset.spec.replace(instances={"train": 1_000_000, "validation": 0})
    many = Dataset(spec, dataset.table)
    with pytest.raises(
        InputError, match=r"^`categories` x `instances` \(=5,000,000 images\) must be at most 1,000,000:"
    ):
        draw_names(many, 21_000, 1_000_000, 0)
    assert len(draw_names(many, 1, 1000, 0)) == 1000


def test_measures_are_those_of_the_images(dataset: Dataset, sample: Sample) -> None:
    family = dataset.spec.family_module
    for k, name in enumerate(sample.names):
        image = dataset.image(*name)
        grey = image.astype(int)
        across, down = np.abs(np.diff(grey, axis=1)) > 32, np.abs(np.diff(grey, axis=0)) > 32
        assert sample.ink[k] == np.mean(image != family.BACKGROUND)
        assert sample.edges[k] == np.concatenate([across.ravel(), down.ravel()]).mean()
        assert sample.n_bytes[k] == len(png.encode(image, family.BIT_DEPTH))
    assert {histogram.n for histogram in sample.parameters.values()} == {len(sample.names)}
    assert list(sample.parameters) == family.VARIANT_SCHEMA.names


def test_spectrum_does_not_see_shifts(dataset: Dataset, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((64, 64), dtype=np.uint8)
    cv2.circle(image, (20, 20), 9, 255)
    shifted = np.roll(image, (16, 8), axis=(0, 1))

    def constant(names: list[tuple[int, int]]) -> object:
        return iter([(image, ()), (shifted, ()), (cv2.GaussianBlur(image, (9, 9), 0), ())])

    monkeypatch.setattr(Dataset, "images", lambda self, names: constant(names))
    monkeypatch.setattr("fdsl.reports.sample.parameter_histograms", lambda dataset: {})
    one, other, blurred = measure(dataset, [(k, 0) for k in range(3)], 1).spectra
    assert one == pytest.approx(other, abs=1e-3)
    assert np.abs(one - blurred).max() > 0.1


def test_extremes_are_first(sample: Sample) -> None:
    ink = dict(zip(sample.names, sample.ink, strict=True))
    assert [ink[name] for name in emptiest(sample, 5)] == sorted(sample.ink)[:5]
    assert [ink[name] for name in fullest(sample, 5)] == sorted(sample.ink, reverse=True)[:5]


def test_equal_images_are_grouped(sample: Sample) -> None:
    digests = [bytes([k]) for k in range(len(sample.names))]
    digests[3] = digests[7] = digests[1]
    assert duplicates(replace(sample, digests=digests)) == [[sample.names[k] for k in (1, 3, 7)]]


def test_similar_pairs_are_nearest_neighbours(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two near each other, a third near both, a fourth near a fifth."""
    spectra = np.random.default_rng(0).normal(size=(11, 40)).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=(3, 40)).astype(np.float32)
    spectra[8], spectra[5], spectra[9] = (
        spectra[2] + 0.01 * noise[0],
        spectra[2] + 0.1 * noise[1],
        spectra[3] + noise[2],
    )
    monkeypatch.setattr("fdsl.reports.findings._BLOCK", 4)
    first, second, *others = similar_pairs(replace(sample, spectra=spectra), 9)
    assert (first.rows, second.rows) == ((2, 8), (3, 9))
    centred = spectra - spectra.mean(axis=0)
    for pair in (first, second, *others):
        a, b = (centred[row] / np.linalg.norm(centred[row]) for row in pair.rows)
        assert pair.similarity == pytest.approx(a @ b, abs=1e-5)
    rows = [row for pair in (first, second, *others) for row in pair.rows]
    assert len(rows) == len(set(rows))
    assert similar_pairs(replace(sample, spectra=spectra), 1) == [first]


def test_one_category_has_no_pairs() -> None:
    spec = small_spec("rcdb", categories=1)
    dataset = Dataset(spec, spec.family_module.sample(spec.params, spec.seed, range(1)))
    assert similar_pairs(measure(dataset, draw_names(dataset, 9, 2, 0), 2), 8) == []
