"""Directories that version 0.1.0 baked: they verify, resume and are repaired.

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

from fdsl import bake, open_directory, repair
from fdsl.version import made_with
from shards.directory import Directory
from shards.index import info, read_receipts
from shards.manifest import read_manifest
from shards.problems import Kind
from tests.shards.conftest import SERIAL, shards_of, snapshot
from tests.shards.harm import problems, the_problem

ARCHIVE = Path(__file__).parents[1] / "data" / "baked-older.tar.xz"
NAMES = ("train-000000", "train-000001", "validation-000000")
INDEX_FILES = ("shards.parquet", "README.md", "_info.json")


@pytest.fixture(params=["exfractal", "rcdb"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    """An older directory, to change."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return open_directory(tmp_path / request.param)


@pytest.fixture
def same_encoders(older: Directory) -> None:
    """Skip the test where the encoders of PNG and Parquet are other versions, which may write other bytes."""
    baked_with = read_manifest(older.path).made_with
    for name in ("isal", "pyarrow", "platform"):
        if baked_with[name] != made_with()[name]:
            pytest.skip(f"baked with {name} {baked_with[name]}, here is {made_with()[name]}")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content_hashes(directory: Directory) -> dict[str, str]:
    """Return the hash of every tar and table of image parameters, by name."""
    return {
        name: digest for name, digest in snapshot(directory.path).items() if name.endswith(".tar") or "samples/" in name
    }


def assert_current_index(directory: Directory) -> None:
    """Check that the index is the one this version writes."""
    content = json.loads((directory.path / "_info.json").read_text())
    assert content == info(directory, read_receipts(directory))
    assert "shardlist" not in content


def test_fixture_is_of_an_older_version(older: Directory) -> None:
    assert yaml.safe_load((older.path / "spec.yaml").read_text())["baked"]["fdsl"] == "0.1.0"
    content = json.loads((older.path / "_info.json").read_text())
    assert content["__kind__"] == "wids-shard-index-v1"
    receipts = read_receipts(older)
    assert tuple(receipt.shard for receipt in receipts) == tuple(f"{name}.tar" for name in NAMES)
    for receipt in receipts:
        assert receipt.md5 == hashlib.md5((older.path / receipt.shard).read_bytes()).hexdigest()


def test_hash_is_unchanged(older: Directory) -> None:
    assert older.dataset.hash == yaml.safe_load((older.path / "spec.yaml").read_text())["baked"]["hash"]


def test_older_directory_verifies(older: Directory) -> None:
    before = snapshot(older.path)
    assert problems(older, rerender=18) == ()
    assert snapshot(older.path) == before


@pytest.mark.usefixtures("same_encoders")
def test_new_bake_has_the_same_bytes(older: Directory, tmp_path: Path) -> None:
    new = bake(older.spec, tmp_path / "new", executor=SERIAL).directory
    assert new.dataset.hash == older.dataset.hash
    assert content_hashes(new) == content_hashes(older)
    assert {receipt.shard: receipt.sha256 for receipt in read_receipts(older)} == {
        f"{name}.tar": sha256(new.path / f"{name}.tar") for name in NAMES
    }
    for one, other in zip(read_receipts(new), read_receipts(older), strict=True):
        assert one == other.model_copy(update={"md5": None})


@pytest.mark.usefixtures("same_encoders")
@pytest.mark.parametrize("name", NAMES)
def test_deleted_shard_is_repaired(name: str, older: Directory) -> None:
    before, shard = content_hashes(older), shards_of(older)[name]
    older.tar(shard).unlink()
    result = repair(older.path, executor=SERIAL)
    assert [shard.name for shard in result.baked] == [name]
    assert content_hashes(older) == before
    assert [receipt.md5 is None for receipt in read_receipts(older)] == [other == name for other in NAMES]
    assert_current_index(older)
    assert problems(older, rerender=18) == ()


@pytest.mark.usefixtures("same_encoders")
def test_unfinished_bake_resumes(older: Directory) -> None:
    before = content_hashes(older)
    for name in INDEX_FILES:
        (older.path / name).unlink()
    for name in NAMES[:2]:
        shard = shards_of(older)[name]
        older.tar(shard).unlink()
        older.receipt(shard).unlink()
    assert {problem.kind for problem in problems(older)} == {Kind.UNBAKED}
    result = bake(older.spec, older.path, executor=SERIAL)
    assert (result.n_found, result.n_shards, result.n_missing) == (1, 2, 0)
    assert content_hashes(older) == before
    assert_current_index(older)
    assert problems(older, rerender=18) == ()


def test_bake_of_a_complete_directory_updates_the_index(older: Directory) -> None:
    before = snapshot(older.path)
    result = bake(older.spec, older.path, executor=SERIAL)
    assert (result.n_found, result.n_shards) == (3, 0)
    after = snapshot(older.path)
    assert {name for name in before if after[name] != before[name]} <= set(INDEX_FILES)
    assert_current_index(older)
    assert problems(older) == ()


def test_older_index_with_new_receipts_is_found(older: Directory) -> None:
    shard = shards_of(older)[NAMES[0]]
    older_info = (older.path / "_info.json").read_bytes()
    older.tar(shard).unlink()
    repair(older.path, executor=SERIAL)
    (older.path / "_info.json").write_bytes(older_info)
    assert the_problem(older)[:2] == (Kind.INDEX, "_info.json")


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
def test_edited_older_info_is_found_and_repaired(edit: str, older: Directory) -> None:
    path = older.path / "_info.json"
    content = json.loads(path.read_text())
    EDITS[edit](content)
    path.write_text(json.dumps(content, indent=1) + "\n")
    assert the_problem(older) == (Kind.INDEX, "_info.json", "contradicts the receipts: it was edited")
    result = repair(older.path, executor=SERIAL)
    assert (result.baked, result.wrote_index) == ((), True)
    assert_current_index(older)
    assert problems(older) == ()


def test_edited_md5_of_an_older_receipt_is_found(older: Directory) -> None:
    path = older.receipt(shards_of(older)[NAMES[0]])
    content = json.loads(path.read_text())
    path.write_text(path.read_text().replace(content["md5"], "0" * 32))
    assert the_problem(older)[:2] == (Kind.INDEX, "_info.json")


def test_damaged_older_tar_is_found(older: Directory) -> None:
    path = older.tar(shards_of(older)[NAMES[0]])
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    assert {problem[:2] for problem in problems(older)} == {(Kind.SHARD, path.name)}
