"""Verifying: a right directory passes, and a file that is not what its receipt or the plan says is found."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from shards import InputError, bake, verify
from shards.content import verify_shard
from shards.directory import Directory, Receipt, open_directory
from shards.plan import Shard
from shards.png import head
from tests.shards.conftest import NAME, run_fdsl, shards_of, small_spec, snapshot
from tests.shards.harm import damage, edit_json, members, pack, problems, reseal, the_problem

# A right directory


def test_a_right_directory_passes(baked: Path) -> None:
    found = verify(baked, workers=1)
    assert (found.shards, found.images, found.problems) == (12, 75, ())


def test_verifying_writes_nothing(baked: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [baked, *baked.rglob("*")]}
    verify(baked, workers=1)
    assert {path: path.stat().st_mtime_ns for path in [baked, *baked.rglob("*")]} == before


def test_a_copied_or_moved_directory_passes(copy: Directory, tmp_path: Path) -> None:
    moved = copy.path.rename(tmp_path / "moved elsewhere")
    assert not verify(moved, workers=1).problems


def test_a_read_only_directory_passes(copy: Directory, mount_point: Path) -> None:
    subprocess.run(["mount", "--bind", copy.path, mount_point], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", mount_point], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        (mount_point / "try").touch()
    assert not verify(mount_point, workers=1).problems


def test_a_resealed_shard_passes_if_nothing_else_is_wrong(copy: Directory, shard: Shard) -> None:
    pack(copy.tar(shard), members(copy.tar(shard)))
    reseal(copy, shard)
    assert not problems(copy)


def test_two_workers_find_the_same_in_the_same_order(copy: Directory) -> None:
    for name in ("train-000001", "train-000004", "validation-000002"):
        damage(copy.path / f"{name}.tar", 700)
    one, two = verify(copy.path, workers=1), verify(copy.path, workers=2)
    assert one == two
    assert [re.split(r"\.tar|:", problem)[0] for problem in one.problems] == sorted(
        re.split(r"\.tar|:", problem)[0] for problem in one.problems
    )


def test_a_part_is_verified_alone(copy: Directory, shard: Shard) -> None:
    copy.tar(shard).unlink()
    assert not verify(copy.path, workers=1, window="0:3").problems
    assert not verify(copy.path, workers=1, split="validation").problems
    assert len(verify(copy.path, workers=1, window="3:4").problems) == 1
    assert len(verify(copy.path, workers=1, split="train").problems) == 1
    with pytest.raises(InputError, match="--shards"):
        verify(copy.path, workers=1, window="0:13")


def test_a_split_without_images_is_right(tmp_path: Path) -> None:
    bake(small_spec("rcdb", instances={"train": 5}), tmp_path, workers=1)
    found = verify(tmp_path, workers=1, split="validation")
    assert (found.shards, found.images, found.problems) == (0, 0, ())


def test_an_unfinished_dataset_is_not_right_but_its_shards_are(tmp_path: Path) -> None:
    bake(small_spec("rcdb"), tmp_path, workers=1, window="0:2")
    assert not verify(tmp_path, workers=1, window="0:2").problems
    found = verify(tmp_path, workers=1)
    assert (found.shards, found.images) == (2, 13)
    assert any("train-000002" in problem for problem in found.problems)
    assert not any("train-000001" in problem for problem in found.problems)


# Files that are not what their receipts say


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("kind", "n_flips"), [("tar", 25), ("samples", 100)])
def test_any_flipped_bit_is_found(kind: str, n_flips: int, seed: int, copy: Directory, shard: Shard) -> None:
    path = getattr(copy, kind)(shard)
    content, rng = path.read_bytes(), random.Random(seed)
    for _ in range(n_flips):
        damage(path, rng.randrange(len(content)), 1 << rng.randrange(8))
        found = verify_shard(copy, shard).problems
        name = str(path.relative_to(copy.path))
        assert found[0] == f"{name}: its SHA-256 is not its receipt's: one of the two was changed after the bake"
        path.write_bytes(content)
    assert not verify_shard(copy, shard).problems


def test_a_flipped_bit_in_a_png_is_found(copy: Directory, shard: Shard) -> None:
    damage(copy.tar(shard), 512 + 60)
    found = problems(copy)
    assert found[0].startswith(f"{NAME}.tar: its SHA-256 is not its receipt's")
    assert re.fullmatch(
        rf"{NAME}\.tar: \d{{6}}_\d{{6}}\.png cannot be decoded, or was written by something else", found[1]
    )
    assert len(found) == 2


def test_verify_speaks_of_a_damaged_png_alone(copy: Directory, shard: Shard, capfd: pytest.CaptureFixture[str]) -> None:
    damage(copy.tar(shard), 512 + 60)
    verify(copy.path, workers=1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("length", [0, 1, 511, 512, 700, 5000, -1024, -1])
def test_a_truncated_tar_is_found(length: int, copy: Directory, shard: Shard) -> None:
    full = copy.tar(shard).stat().st_size
    length %= full
    os.truncate(copy.tar(shard), length)
    found = problems(copy)
    assert found[0] == f"{NAME}.tar: {length:,} bytes; its receipt says {full:,}"
    assert all(problem.startswith(f"{NAME}.tar: ") for problem in found)


@pytest.mark.parametrize("gone", ["tar", "samples", "receipt", "tar and receipt", "all"])
def test_a_shard_of_which_something_is_missing_is_found(gone: str, copy: Directory, shard: Shard) -> None:
    for path in (copy.tar(shard), copy.samples(shard), copy.receipt(shard)):
        kind = {".tar": "tar", ".json": "receipt", ".parquet": "samples"}[path.suffix]
        if gone == "all" or kind in gone.split(" and "):
            path.unlink()
    assert NAME in the_problem(copy)


# Receipts


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samples", 8), ("samples", "7"), ("samples", None), ("bytes", 1), ("bytes", "many"), ("bytes", [1]),
        ("sha256", "0" * 64), ("sha256", 5), ("samples_sha256", "0" * 64), ("md5", "0" * 32), ("split", "validation"),
        ("shard", "train-000004.tar"), ("spec", "0" * 64), ("spec", None),
    ],
)  # fmt: skip
def test_an_edited_receipt_is_found(field: str, value: Any, copy: Directory, shard: Shard) -> None:
    edit_json(copy.receipt(shard), **{field: value})
    found = problems(copy)
    assert found
    if field != "md5":
        assert NAME in found[0]
        assert not any("train-000002" in problem or "train-000005" in problem for problem in found)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"shard": "train-000003.tar"}'])
def test_a_receipt_that_is_none_is_found(content: bytes, copy: Directory, shard: Shard) -> None:
    copy.receipt(shard).write_bytes(content)
    problem = the_problem(copy)
    assert f"{NAME}.json" in problem
    assert "is not a receipt" in problem


def test_a_receipt_with_an_unknown_key_is_found(copy: Directory, shard: Shard) -> None:
    edit_json(copy.receipt(shard), note="mine")
    assert "`receipt.note` (='mine') is not a key" in the_problem(copy)


def test_the_receipt_and_shard_of_another_spec_are_found(copy: Directory, shard: Shard, tmp_path: Path) -> None:
    other = bake(small_spec(copy.spec.family, seed=8), tmp_path / "other", workers=1).directory
    for path in (other.tar(shard), other.samples(shard), other.receipt(shard)):
        shutil.copy(path, copy.path / path.relative_to(other.path))
    problem = the_problem(copy)
    assert f"{NAME}.json` is the receipt of another dataset" in problem
    assert other.hash in problem
    assert copy.hash in problem


def test_the_receipts_of_two_shards_swapped_are_found(copy: Directory, shard: Shard) -> None:
    mine, other = copy.receipt(shard), copy.receipt(shards_of(copy)["train-000000"])
    mine_says, other_says = mine.read_bytes(), other.read_bytes()
    mine.write_bytes(other_says)
    other.write_bytes(mine_says)
    told = " ".join(problems(copy))
    assert NAME in told
    assert "train-000000" in told


# Index files and files that do not belong


@pytest.mark.parametrize("name", ["_info.json", "shards.parquet", "README.md"])
def test_a_missing_index_file_is_found_and_bake_writes_it_again(name: str, copy: Directory, baked: Path) -> None:
    (copy.path / name).unlink()
    problem = the_problem(copy)
    assert name in problem
    assert "missing" in problem
    bake(copy.spec, copy.path, workers=1)
    assert snapshot(copy.path) == snapshot(baked)


def test_an_edited_info_is_found(copy: Directory) -> None:
    path = copy.path / "_info.json"
    good = json.loads(path.read_text())
    bad = []
    for edit in (
        lambda info: info["splits"]["train"].update(num_samples=61),
        lambda info: info["splits"]["train"]["filenames"].reverse(),
        lambda info: info["splits"].pop("validation"),
        lambda info: info["shardlist"][0].update(md5sum="0" * 32),
        lambda info: info.update(note="mine"),
    ):
        info = json.loads(json.dumps(good))
        edit(info)
        bad.append(json.dumps(info).encode())
    for content in (*bad, b"", b"{", b"\xff\xfe", b"[]"):
        path.write_bytes(content)
        assert the_problem(copy).startswith(
            "_info.json: " + ("does not say what the receipts say" if content else "missing")
        )


def test_an_edited_shards_parquet_is_found(copy: Directory) -> None:
    path = copy.path / "shards.parquet"
    table = pq.read_table(path)
    for bad in (
        table.slice(1),
        table.drop_columns(["sha256"]),
        table.set_column(2, "samples", pa.array([1] * 12, pa.int64())),
    ):
        pq.write_table(bad, path)
        assert the_problem(copy).startswith("shards.parquet: does not say what the receipts say")
    path.write_bytes(b"garbage")
    assert the_problem(copy).startswith("shards.parquet: ")


@pytest.mark.parametrize("name", ["train-000009.tar", "validation-000003.tar", "train-copy.tar"])
def test_a_tar_too_many_is_found(name: str, copy: Directory, shard: Shard) -> None:
    shutil.copy(copy.tar(shard), copy.path / name)
    assert the_problem(copy).startswith(f"{name}: no shard of this dataset")


# The command


def test_the_command_exits_0_if_all_is_right(baked: Path) -> None:
    done = run_fdsl("verify", baked, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{baked}: 75 images in 12 shards are right\n"


def test_the_command_exits_1_and_lists_what_is_wrong(copy: Directory, shard: Shard) -> None:
    damage(copy.tar(shard), 100)
    (copy.path / "validation-000001.tar").unlink()
    done = run_fdsl("verify", copy.path, "--workers", "1")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert {line.split(": ")[0] for line in lines[:-1]} == {f"{NAME}.tar"}
    assert lines[-1] == "validation-000001.tar: missing"
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"fdsl: {copy.path}: {len(lines)} problems")


def test_bake_mends_what_is_removed_after_verifying(copy: Directory, shard: Shard, baked: Path) -> None:
    damage(copy.tar(shard), 2000)
    assert problems(copy)
    copy.tar(shard).unlink()
    bake(copy.spec, copy.path, workers=1)
    assert not problems(copy)
    assert snapshot(copy.path) == snapshot(baked)


def test_a_receipts_file_is_what_the_dataclass_says(copy: Directory, shard: Shard) -> None:
    held = json.loads(copy.receipt(shard).read_text())
    assert list(held) == [field.name for field in dataclasses.fields(Receipt)]
    tar = copy.tar(shard).read_bytes()
    assert held == {
        "shard": f"{NAME}.tar",
        "split": "train",
        "samples": shard.samples,
        "bytes": len(tar),
        "sha256": hashlib.sha256(tar).hexdigest(),
        "md5": hashlib.md5(tar).hexdigest(),
        "samples_sha256": hashlib.sha256(copy.samples(shard).read_bytes()).hexdigest(),
        "spec": open_directory(copy.path).hash,
    }
    assert head(64, 64, copy.spec.rules.BIT_DEPTH) in tar
