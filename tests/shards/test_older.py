"""Directories of format 1, which version 0.1.0 baked: they verify, and nothing renders into them.

`tests/data/baked-older.tar.xz` holds one small directory of each family of that version. Their receipts have an MD5, and
their _info.json a wids index.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fdsl import InputError, bake
from shards.problems import Kind
from tests.commands import error_line, fdsl, refused
from tests.shards.conftest import SERIAL, shards_of, snapshot
from tests.shards.disk import OnDisk, on_disk
from tests.shards.harm import problems, the_problem

ARCHIVE = Path(__file__).parents[1] / "data" / "baked-older.tar.xz"
NAMES = ("train-000000", "train-000001", "validation-000000")


@pytest.fixture(params=["exfractal", "rcdb"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> OnDisk:
    """An older directory, to change."""
    with tarfile.open(ARCHIVE) as archive:
        # Python before 3.11.4 has no filters
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return on_disk(tmp_path / request.param)


def test_fixture_is_of_an_older_version(older: OnDisk) -> None:
    assert yaml.safe_load((older.path / "spec.yaml").read_text())["baked"]["fdsl"] == "0.1.0"
    content = json.loads((older.path / "_info.json").read_text())
    assert content["__kind__"] == "wids-shard-index-v1"
    receipts = older.receipts(list(shards_of(older).values())).values()
    assert tuple(receipt.shard for receipt in receipts) == tuple(f"{name}.tar" for name in NAMES)
    for receipt in receipts:
        assert receipt.md5 == hashlib.md5((older.path / receipt.shard).read_bytes()).hexdigest()


def test_hash_is_unchanged(older: OnDisk) -> None:
    assert older.dataset.hash == yaml.safe_load((older.path / "spec.yaml").read_text())["baked"]["hash"]


def test_older_directory_verifies(older: OnDisk) -> None:
    before = snapshot(older.path)
    assert problems(older) == ()
    assert snapshot(older.path) == before


def test_nothing_is_rendered_from_an_older_directory(older: OnDisk, tmp_path: Path) -> None:
    before, spec = snapshot(older.path), older.path / "spec.yaml"
    for command in (
        ["verify", older.path, "--rerender", 3],
        ["repair", older.path],
        ["repair", older.path, "--dry-run"],
        ["bake", spec, "-o", older.path],
        ["bake", spec, "-o", tmp_path / "new"],
        ["preview", spec, "-o", tmp_path / "sheet.png"],
        ["plan", spec],
    ):
        line = refused(*command)
        assert line.startswith(f"fdsl: `{older.path}` has format 1, whose images this fdsl does not render")
        assert line.endswith("bake the same SPEC into a new directory")
    with pytest.raises(InputError, match="has format 1"):
        bake(older.spec, older.path, executor=SERIAL)
    with pytest.raises(InputError, match="older format"):
        older.dataset.image(0, 0)
    assert snapshot(older.path) == before
    assert not (tmp_path / "new").exists()


def test_new_bake_is_another_dataset(older: OnDisk, tmp_path: Path) -> None:
    new = bake(older.spec, tmp_path / "new", categories=older.dataset.table, executor=SERIAL).directory
    assert new.dataset.hash != older.dataset.hash
    assert new.dataset.categories_sha256 == older.dataset.categories_sha256


def test_unknown_format_is_refused(older: OnDisk) -> None:
    path = older.path / "spec.yaml"
    path.write_text(path.read_text().replace("format: 1", "format: 3"))
    assert "has format 3 of fdsl 0.1.0; this fdsl reads formats up to 2" in refused("verify", older.path)


EDITS: dict[str, Callable[[Any], Any]] = {
    "md5sum changed": lambda content: content["shardlist"][0].update(md5sum="0" * 32),
    "md5sum dropped": lambda content: content["shardlist"][0].pop("md5sum"),
    "size changed": lambda content: content["shardlist"][1].update(filesize=1),
    "shard dropped": lambda content: content["shardlist"].pop(),
    "list dropped": lambda content: content.pop("shardlist"),
    "kind changed": lambda content: content.update(__kind__="other"),
    "name changed": lambda content: content.update(name="other"),
    "count changed": lambda content: content["splits"]["train"].update(num_samples=13),
    "new key added": lambda content: content["splits"]["train"].update(shard_bytes=[13312, 13312]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_older_info_is_found(edit: str, older: OnDisk) -> None:
    path = older.path / "_info.json"
    content = json.loads(path.read_text())
    EDITS[edit](content)
    path.write_text(json.dumps(content, indent=1) + "\n")
    assert the_problem(older) == (Kind.INDEX, "_info.json", "contradicts the receipts: it was edited")


def test_edited_md5_of_an_older_receipt_is_found(older: OnDisk) -> None:
    path = older.receipt(shards_of(older)[NAMES[0]])
    content = json.loads(path.read_text())
    path.write_text(path.read_text().replace(content["md5"], "0" * 32))
    assert the_problem(older)[:2] == (Kind.INDEX, "_info.json")


def test_damaged_older_tar_is_found(older: OnDisk) -> None:
    path = older.tar(shards_of(older)[NAMES[0]])
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    assert {problem[:2] for problem in problems(older)} == {(Kind.SHARD, path.name)}
    line = error_line(fdsl("verify", older.path, "--workers", 1).stderr)
    assert line.endswith(" problems; format 1 cannot be repaired; bake the same SPEC into a new directory")
