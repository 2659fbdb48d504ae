"""The dataset card, README.md of a baked directory."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from fdsl import Dataset, search_categories
from fdsl.dataset.categories import numbered
from fdsl.dataset.plan import plan_shards
from shards.card import MAX_SHARDS, card, few_shards_warning, many_shards_warning
from shards.directory import Directory, open_directory
from shards.index import info
from shards.receipts import Receipt
from tests.shards.conftest import small_spec


def test_card_describes_the_dataset(baked: Path) -> None:
    text = (baked / "README.md").read_text()
    directory = open_directory(baked)
    family = directory.spec.family_module
    n_bytes = {
        split: sum(tar.stat().st_size for tar in baked.glob(f"{split}-*.tar")) for split in ("train", "validation")
    }
    assert f"75 images of 5 categories of {family.TITLE}, rendered from formulas." in text
    assert f"They are 64 x 64 px, {family.BIT_DEPTH}-bit grey PNG. The label is the category, 0..4." in text
    assert f"| train | 60 | 12 | 9 | 6 or 7 | {n_bytes['train']:,} |" in text
    assert f"| validation | 15 | 3 | 3 | 5 | {n_bytes['validation']:,} |" in text
    assert f"`{directory.dataset.hash}`" in text
    assert f"Source: {family.CITATION}" in text
    assert "Warning" not in text


def test_front_matter_names_the_tars_of_each_split(baked: Path) -> None:
    front_matter = yaml.safe_load((baked / "README.md").read_text().split("---\n")[1])
    patterns = {entry["split"]: entry["path"] for entry in front_matter["configs"][0]["data_files"]}
    tars = {split: sorted(path.name for path in baked.glob(pattern)) for split, pattern in patterns.items()}
    assert {split: len(names) for split, names in tars.items()} == {"train": 9, "validation": 3}
    assert sorted(name for names in tars.values() for name in names) == sorted(
        path.name for path in baked.glob("*.tar")
    )


def test_front_matter_tells_licence_and_types(baked: Path) -> None:
    front_matter = yaml.safe_load((baked / "README.md").read_text().split("---\n")[1])
    assert front_matter["license"] == "cc0-1.0"
    assert front_matter["dataset_info"]["features"][:2] == [
        {"name": "png", "dtype": {"image": {"mode": "L"}}},
        {"name": "cls", "dtype": {"class_label": {"names": {str(k): str(k) for k in range(5)}}}},
    ]
    assert "The licence of the images is CC0-1.0." in (baked / "README.md").read_text()


def test_trainer_reads_the_most_shards(baked: Path) -> None:
    directory = open_directory(baked)
    receipts = list(directory.receipts(plan_shards(directory.spec)).values())
    large = [receipt.model_copy(update={"bytes": 5 * 10**9, "samples": 100_000}) for receipt in receipts] * 100
    n_bytes = len(json.dumps(info(directory, large), indent=1))
    assert n_bytes / len(large) * MAX_SHARDS < 2**24
    assert many_shards_warning(MAX_SHARDS) is None
    assert many_shards_warning(MAX_SHARDS + 1) is not None


WARNED = [(1000, 63, True), (1000, 1, True), (21_000, 63, True), (1000, 64, False), (999, 1, False)]


@pytest.mark.parametrize(("n_categories", "n_shards", "is_warned"), WARNED)
def test_few_shards_give_a_warning(n_categories: int, n_shards: int, is_warned: bool) -> None:
    warning = few_shards_warning(n_categories, n_shards)
    assert (warning is not None) == is_warned
    if warning is not None:
        assert warning.startswith(f"only {n_shards} train shards: ")


@pytest.fixture(scope="module")
def large_table() -> pa.Table:
    """A table of 1,000 equal categories."""
    (one,) = search_categories(small_spec("rcdb", categories=1)).table.to_batches()
    return numbered(pa.Table.from_batches([one] * 1000), "rcdb")


@pytest.mark.parametrize(("n_categories", "n_shards", "is_warned"), [case for case in WARNED if case[0] <= 1000])
def test_card_holds_the_warning(n_categories: int, n_shards: int, is_warned: bool, large_table: pa.Table) -> None:
    n_samples = -(-n_categories // n_shards)
    spec = small_spec("rcdb", categories=n_categories, instances={"train": 1}, shards={"samples": n_samples})
    directory = Directory(Path("nowhere"), Dataset(spec, large_table))
    digest = "0" * 64
    receipts = [
        Receipt(
            shard=f"train-{k:06}.tar", split="train", samples=n_samples, bytes=1,
            sha256=digest, samples_sha256=digest, spec=digest,
        )
        for k in range(n_shards)
    ]  # fmt: skip
    text = card(directory, receipts)
    assert f"| {n_shards} |" in text
    assert ("Warning" in text) == is_warned
    assert (f"\nWarning: {few_shards_warning(n_categories, n_shards)}.\n" in text) == is_warned
