"""The Dataset: a spec and its categories, which decide every pixel."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest

from fdsl import Dataset, InputError, Spec, search_categories
from fdsl.dataset.categories import table_sha256
from fdsl.dataset.spec import SPLITS, dataset_hash
from fdsl.primitives.streams import Stream, domain

NAMES = [(0, 0), (4, 14), (2, 11), (2, 12), (0, 0), (3, 5), (1, 13)]


@pytest.fixture(scope="module")
def dataset(spec: Spec, table: pa.Table) -> Dataset:
    return Dataset(spec, table)


def test_images_are_single_images(dataset: Dataset) -> None:
    together = [image for image, _ in dataset.images(iter(NAMES))]
    assert len(together) == len(NAMES)
    assert all(np.array_equal(image, dataset.image(*name)) for image, name in zip(together, NAMES, strict=True))


def test_image_has_the_specs_size(dataset: Dataset) -> None:
    image = dataset.image(1, 2)
    assert image.shape == (64, 64)
    assert image.dtype == np.uint8


def test_image_is_the_familys(dataset: Dataset) -> None:
    family, spec = dataset.spec.family_module, dataset.spec
    for category, instance, split in ((0, 0, "train"), (3, 11, "train"), (3, 12, "validation"), (4, 14, "validation")):
        stream = Stream(7, domain(family.DOMAIN, SPLITS[split]), category, instance)
        assert dataset.stream(category, instance) == stream
        image, variant = next(family.render_each(spec.params, 64, [(dataset.rows[category], stream)]))
        assert np.array_equal(dataset.image(category, instance), image)
        assert [variant] == [drawn for _, drawn in dataset.images([(category, instance)])]


@pytest.mark.parametrize(
    ("category", "instance", "message"),
    [
        (5, 0, "`category` (=5) must be a whole number in 0..4"),
        (-1, 0, "`category` (=-1) must be a whole number in 0..4"),
        (0, 15, "`instance` (=15) must be a whole number in 0..14"),
        (0, -1, "`instance` (=-1) must be a whole number in 0..14"),
    ],
)
def test_unknown_image_is_refused(category: int, instance: int, message: str, dataset: Dataset) -> None:
    with pytest.raises(InputError) as refused:
        dataset.image(category, instance)
    assert str(refused.value) == message


def test_table_is_checked_when_made(spec: Spec, table: pa.Table) -> None:
    with pytest.raises(InputError, match=r"^`the categories table` has 3 rows"):
        Dataset(spec, table.slice(0, 3))
    with pytest.raises(InputError, match=r"^`mine\.parquet` has 3 rows"):
        Dataset(spec, table.slice(0, 3), "mine.parquet")


def test_extra_rows_do_not_matter(dataset: Dataset, table: pa.Table) -> None:
    spec = dataset.spec
    more = Dataset(spec, search_categories(spec.replace(categories=6)).table)
    assert more.table.equals(table)
    assert more.hash == dataset.hash


def test_hash_covers_spec_and_categories(dataset: Dataset, table: pa.Table) -> None:
    spec = dataset.spec
    other_seed, fewer = spec.replace(seed=8), spec.replace(categories=4)
    other_rows = table.take([1, 0, 2, 3, 4]).set_column(0, table.schema.field(0), table.column(0))
    datasets = [dataset, Dataset(other_seed, table), Dataset(fewer, table), Dataset(spec, other_rows)]
    assert len({dataset.hash for dataset in datasets}) == 4
    assert dataset.categories_sha256 == table_sha256(table) == datasets[1].categories_sha256
    assert dataset.hash == dataset_hash(spec, table_sha256(table))


def test_categories_are_unpacked_and_hashed_once(spec: Spec, table: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    n_calls = {"unpack": 0, "sha256": 0}
    unpack = spec.family_module.unpack

    def counted_unpack(*arguments: object) -> object:
        n_calls["unpack"] += 1
        return unpack(*arguments)  # type: ignore[arg-type]

    def counted_sha256(rows: pa.Table) -> str:
        n_calls["sha256"] += 1
        return table_sha256(rows)

    monkeypatch.setattr(spec.family_module, "unpack", counted_unpack)
    monkeypatch.setattr("fdsl.dataset.dataset.table_sha256", counted_sha256)
    dataset = Dataset(spec, table)
    for _ in range(2):
        dataset.image(0, 0)
        list(dataset.images(NAMES))
        assert dataset.hash
        assert dataset.categories_sha256
    assert n_calls == {"unpack": 1, "sha256": 1}


def test_pickled_dataset_is_the_same(dataset: Dataset) -> None:
    """Workers get a copy."""
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.hash == dataset.hash
    assert np.array_equal(copy.image(3, 12), dataset.image(3, 12))


def test_pickle_holds_spec_and_table_only(spec: Spec) -> None:
    """Each spawned loader worker receives one."""
    many = spec.replace(categories=200)
    dataset = Dataset(many, search_categories(many).table)
    assert len(pickle.dumps(dataset)) < len(pickle.dumps((many, dataset.table))) + 500


def test_wrong_types_are_refused(spec: Spec, table: pa.Table) -> None:
    with pytest.raises(InputError, match=r"^`spec` \(='rcdb-1k'\) must be a Spec; `load_spec` returns one$"):
        Dataset("rcdb-1k", table)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(=None\) must be a pyarrow table; `read_table` returns one$"):
        Dataset(spec, None)
