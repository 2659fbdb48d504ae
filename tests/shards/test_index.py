"""The index: what timm and the trainer read of a complete dataset."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from fdsl import InputError, bake, verify
from shards.layout import CARD, INDEX, INFO
from tests.shards.conftest import SERIAL, members, shards_of, small_spec, snapshot
from tests.shards.disk import OnDisk, index_again

N_SHARDS = {"train": 9, "validation": 3}


def test_info_is_what_readers_need(baked: Path) -> None:
    info = json.loads((baked / "_info.json").read_text())
    tars = {split: sorted(baked.glob(f"{split}-*.tar")) for split in N_SHARDS}
    lengths = {split: [len(members(tar)) // 2 for tar in tars[split]] for split in N_SHARDS}
    assert {split: len(paths) for split, paths in tars.items()} == N_SHARDS
    assert info == {
        "splits": {
            split: {
                "name": split,
                "filenames": [tar.name for tar in tars[split]],
                "shard_lengths": lengths[split],
                "num_samples": sum(lengths[split]),
                "shard_bytes": [tar.stat().st_size for tar in tars[split]],
                "shard_sha256": [hashlib.sha256(tar.read_bytes()).hexdigest() for tar in tars[split]],
            }
            for split in N_SHARDS
        },
        "num_classes": 5,
        "spec_hash": yaml.safe_load((baked / "spec.yaml").read_text())["baked"]["hash"],
    }


def test_index_has_a_row_per_tar(baked: Path) -> None:
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


def test_dataset_without_validation_has_one_split(tmp_path: Path) -> None:
    bake(small_spec("rcdb", instances={"train": 5}), tmp_path, executor=SERIAL)
    assert set(json.loads((tmp_path / "_info.json").read_text())["splits"]) == {"train"}
    assert "validation" not in (tmp_path / "README.md").read_text()
    assert not verify(tmp_path, executor=SERIAL).problems


def test_index_is_written_after_all_shards(tmp_path: Path) -> None:
    spec = small_spec("rcdb")
    for shards, exists in (("0:11", False), ("11:12", True)):
        bake(spec, tmp_path, executor=SERIAL, shards=shards)
        assert [(tmp_path / name).exists() for name in (INDEX, CARD, INFO)] == [exists] * 3


def test_incomplete_dataset_gets_no_index(copy: OnDisk) -> None:
    for name in (INDEX, CARD, INFO):
        (copy.path / name).unlink()
    copy.receipt(shards_of(copy)["validation-000002"]).unlink()
    before = snapshot(copy.path)
    with pytest.raises(InputError, match="a receipt was deleted while the index was written; run the command again"):
        index_again(copy)
    assert snapshot(copy.path) == before


def test_index_depends_on_the_receipts_alone(copy: OnDisk, baked: Path) -> None:
    for name in (INDEX, CARD, INFO):
        (copy.path / name).unlink()
    index_again(copy)
    assert snapshot(copy.path) == snapshot(baked)
