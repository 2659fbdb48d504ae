"""The index: what timm, wids and people read of a dataset once all its shards are there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from shards import bake, verify
from shards.directory import Directory, Receipt
from shards.index import card, few_shards_warning
from tests.shards.conftest import members, small_spec


@pytest.fixture
def info(baked: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((baked / "_info.json").read_text())
    return found


def test_info_has_what_timm_looks_for(baked: Path, info: dict[str, Any]) -> None:
    for split, n_shards in (("train", 9), ("validation", 3)):
        tars = sorted(baked.glob(f"{split}-*.tar"))
        lengths = [len(members(tar)) // 2 for tar in tars]
        assert len(tars) == n_shards
        assert info["splits"][split] == {
            "name": split,
            "filenames": [tar.name for tar in tars],
            "shard_lengths": lengths,
            "num_samples": sum(lengths),
        }
    assert set(info["splits"]) == {"train", "validation"}


def test_info_is_the_wids_index_of_train(baked: Path, info: dict[str, Any]) -> None:
    assert (info["__kind__"], info["wids_version"], info["name"]) == ("wids-shard-index-v1", 1, f"small-{baked.name}")
    assert info["shardlist"] == [
        {
            "url": tar.name,
            "md5sum": hashlib.md5(tar.read_bytes()).hexdigest(),
            "nsamples": len(members(tar)) // 2,
            "filesize": tar.stat().st_size,
        }
        for tar in sorted(baked.glob("train-*.tar"))
    ]


def test_info_has_no_other_keys(baked: Path, info: dict[str, Any]) -> None:
    assert set(info) == {"splits", "num_classes", "spec_hash", "__kind__", "wids_version", "name", "shardlist"}
    assert info["num_classes"] == 5
    assert info["spec_hash"] == yaml.safe_load((baked / "spec.yaml").read_text())["baked"]["hash"]


def test_shards_parquet_has_a_row_for_each_tar(baked: Path) -> None:
    table = pq.read_table(baked / "shards.parquet")
    assert table.column_names == ["name", "split", "samples", "bytes", "sha256"]
    assert table.to_pylist() == [
        {
            "name": tar.name,
            "split": tar.name.split("-")[0],
            "samples": len(members(tar)) // 2,
            "bytes": tar.stat().st_size,
            "sha256": hashlib.sha256(tar.read_bytes()).hexdigest(),
        }
        for tar in sorted(baked.glob("*.tar"))
    ]


def test_a_dataset_without_validation_has_no_such_split(tmp_path: Path) -> None:
    bake(small_spec("rcdb", instances={"train": 5}), tmp_path, workers=1)
    assert set(json.loads((tmp_path / "_info.json").read_text())["splits"]) == {"train"}
    assert "validation" not in (tmp_path / "README.md").read_text()
    assert not verify(tmp_path, workers=1).problems


def test_the_card_says_what_there_is(baked: Path) -> None:
    text = (baked / "README.md").read_text()
    n_bytes = {split: sum(tar.stat().st_size for tar in baked.glob(f"{split}-*.tar")) for split in ("train", "val*")}
    depth = {"exfractal": 1, "rcdb": 8}[baked.name]
    assert f"75 images of 5 categories, rendered from formulas: {baked.name} at 64 x 64 px, {depth}-bit" in text
    assert f"| train | 60 | 12 | 9 | 6 or 7 | {n_bytes['train']:,} |" in text
    assert f"| validation | 15 | 3 | 3 | 5 | {n_bytes['val*']:,} |" in text
    assert yaml.safe_load((baked / "spec.yaml").read_text())["baked"]["hash"] in text
    assert "Warning" not in text


def test_the_cards_front_matter_names_the_tars_of_each_split(baked: Path) -> None:
    front = yaml.safe_load((baked / "README.md").read_text().split("---\n")[1])
    data_files = front["configs"][0]["data_files"]
    found = {each["split"]: sorted(path.name for path in baked.glob(each["path"])) for each in data_files}
    assert found == {
        split: sorted(path.name for path in baked.glob(f"{split}-*.tar")) for split in ("train", "validation")
    }


@pytest.mark.parametrize(
    ("categories", "n_shards", "warned"),
    [(1000, 63, True), (1000, 1, True), (21_000, 63, True), (1000, 64, False), (999, 1, False)],
)
def test_the_card_warns_of_few_shards(categories: int, n_shards: int, warned: bool) -> None:
    train = -(-categories // n_shards)
    spec = small_spec("exfractal", categories=categories, instances={"train": 1}, shards={"samples": train})
    directory = Directory(Path("nowhere"), spec, "0" * 64)
    digest = "0" * 64
    receipts = [
        Receipt(f"train-{k:06}.tar", "train", train, 1, digest, digest[:32], digest, digest) for k in range(n_shards)
    ]
    text = card(directory, receipts)
    warning = few_shards_warning(categories, n_shards)
    assert f"| {n_shards:,} |" in text
    assert (warning is not None) == warned == ("Warning" in text)
    if warning is not None:
        assert warning in text
        assert f"only {n_shards} train shards" in warning
