"""Repairing: a damaged directory ends with the bytes of an undisturbed bake; nothing valid is touched."""

from __future__ import annotations

import os
import random
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdsl import InputError, LocalExecutor, Spec, bake, open_directory, repair, search_categories, verify
from shards import baking
from shards.directory import Directory
from shards.problems import Kind
from shards.receipts import Receipt
from shards.tar import TarWriter
from tests.shards.conftest import NAME, ONE_FAMILY, SERIAL, shards_of, snapshot
from tests.shards.disk import OnDisk
from tests.shards.harm import damage, invoke, problems, repack, replace_with_fifo

TAR, TABLE, RECEIPT = f"{NAME}.tar", f"samples/{NAME}.parquet", f"receipts/{NAME}.json"


def flip(path: Path) -> None:
    damage(path, path.stat().st_size // 2)


def swap_two_images(directory: OnDisk) -> None:
    """Swap two images and make the receipt fit."""
    repack(
        directory,
        shards_of(directory)[NAME],
        lambda files: [(files[0][0], files[2][1]), files[1], (files[2][0], files[0][1]), *files[3:]],
    )


def swap_tars(directory: OnDisk) -> None:
    one, other = directory.path / TAR, directory.path / "train-000001.tar"
    one_content = one.read_bytes()
    other.replace(one)
    other.write_bytes(one_content)


def copy_file(name: str, new_name: str) -> Callable[[OnDisk], object]:
    return lambda directory: shutil.copy(directory.path / name, directory.path / new_name)


def delete_file(name: str) -> Callable[[OnDisk], object]:
    return lambda directory: (directory.path / name).unlink()


def resize_file(name: str, n_bytes: int) -> Callable[[OnDisk], object]:
    return lambda directory: os.truncate(directory.path / name, n_bytes)


def flip_file(name: str) -> Callable[[OnDisk], object]:
    return lambda directory: flip(directory.path / name)


HARMS: dict[str, Callable[[OnDisk], object]] = {
    "tar deleted": delete_file(TAR),
    "tar truncated": resize_file(TAR, 3000),
    "tar emptied": resize_file(TAR, 0),
    "tar flipped": flip_file(TAR),
    "tar extended": resize_file(TAR, 10**6),
    "tars swapped": swap_tars,
    "surplus tar": copy_file(TAR, "train-000009.tar"),
    "receipt deleted": delete_file(RECEIPT),
    "receipt flipped": flip_file(RECEIPT),
    "surplus receipt": copy_file(RECEIPT, "receipts/train-000077.json"),
    "table deleted": delete_file(TABLE),
    "table flipped": flip_file(TABLE),
    "surplus table": copy_file(TABLE, "samples/train-000077.parquet"),
    "index deleted": delete_file("shards.parquet"),
    "card deleted": delete_file("README.md"),
    "info edited": lambda directory: (directory.path / "_info.json").write_text("{}"),
    "categories deleted": delete_file("categories.parquet"),
    "categories truncated": resize_file("categories.parquet", 500),
    "unfinished file": lambda directory: (directory.path / ".train-000003.tar.77@elsewhere.tmp").write_bytes(b"half"),
    "all tars deleted": lambda directory: [path.unlink() for path in directory.path.glob("*.tar")],
    "folders deleted": lambda directory: [shutil.rmtree(directory.path / name) for name in ("samples", "receipts")],
}


@ONE_FAMILY
@pytest.mark.parametrize("name", HARMS)
def test_repair_restores_every_byte(name: str, copy: OnDisk, baked: Path) -> None:
    HARMS[name](copy)
    harmed = snapshot(copy.path)
    assert harmed != snapshot(baked)
    forecast = repair(copy.path, executor=SERIAL, dry_run=True)
    assert snapshot(copy.path) == harmed
    result = repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)
    assert result.restored_categories == forecast.restored_categories == name.startswith("categories")
    if not forecast.restored_categories:  # a dry run cannot look further
        assert result == forecast


@pytest.mark.parametrize("seed", range(6))
def test_many_harms_are_repaired(seed: int, copy: OnDisk, baked: Path) -> None:
    rng = random.Random(seed)
    for name in rng.sample(sorted(HARMS), 4):
        try:
            HARMS[name](copy)
        except FileNotFoundError:  # another harm deleted the file
            continue
    repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


@pytest.mark.slow
def test_two_workers_repair_to_the_same_bytes(copy: OnDisk, baked: Path) -> None:
    HARMS["all tars deleted"](copy)
    repair(copy.path, executor=LocalExecutor(2))
    assert snapshot(copy.path) == snapshot(baked)


def test_only_the_damaged_shard_is_baked(copy: OnDisk) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.path.rglob("*.*") if path.is_file()}
    HARMS["tar flipped"](copy)
    result = repair(copy.path, executor=SERIAL)
    assert [shard.name for shard in result.baked] == [NAME]
    rewritten = {path for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns}
    index = {"shards.parquet", "_info.json", "README.md"}
    assert {str(path.relative_to(copy.path)) for path in rewritten} - {".bake.lock"} == {TAR, TABLE, RECEIPT} | index


def test_valid_directory_is_not_touched(baked: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in baked.rglob("*.*")}
    result = repair(baked, executor=SERIAL)
    assert (result.problems, result.baked, result.deleted, result.wrote_index) == ((), (), (), False)
    after = {path: path.stat().st_mtime_ns for path in baked.rglob("*.*")}
    assert {path.name for path in after if after[path] != before.get(path)} <= {".bake.lock"}


@ONE_FAMILY
def test_own_files_are_kept(copy: OnDisk) -> None:
    own = ("notes.txt", "receipts/notes.txt", "my-train.tar", "samples/own.parquet")
    shard_like = ["train-my-backup.tar", "train.tar", "validation-imagenet.tar", "receipts/train-log.json"]
    for name in (*own, *shard_like):
        (copy.path / name).write_text("mine")
    before = snapshot(copy.path)
    result = repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == before
    assert {problem.kind for problem in result.problems} == {Kind.FOREIGN}
    assert list(result.foreign) == [problem.path for problem in result.problems] == shard_like
    command = invoke("repair", copy.path, "--workers", "1")
    names = ", ".join(shard_like)
    assert str(command.exception) == (
        f"{copy.path}: not touched, as they may be your own files: {names}; move or delete them"
    )


# Obstacles


@ONE_FAMILY
@pytest.mark.parametrize("name", [TAR, TABLE, RECEIPT, "categories.parquet", "_info.json"])
def test_folder_in_place_of_a_file_is_refused(name: str, copy: OnDisk, baked: Path) -> None:
    (copy.path / name).unlink()
    (copy.path / name).mkdir()
    (copy.path / "train-000001.tar").unlink()
    before = snapshot(copy.path)
    for dry_run in (True, False):
        with pytest.raises(InputError, match=f"`{copy.path}`: {name}: a folder in place of a file"):
            repair(copy.path, executor=SERIAL, dry_run=dry_run)
    assert snapshot(copy.path) == before
    (copy.path / name).rmdir()
    repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


@ONE_FAMILY
@pytest.mark.parametrize("name", ["samples", "receipts"])
def test_file_in_place_of_a_folder_is_refused(name: str, copy: OnDisk, baked: Path) -> None:
    shutil.rmtree(copy.path / name)
    (copy.path / name).write_text("no folder")
    before = snapshot(copy.path)
    with pytest.raises(InputError, match=f": {name}: a folder in place of a file, or a file in place of a folder"):
        repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == before
    (copy.path / name).unlink()
    repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


@ONE_FAMILY
@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("categories.parquet", Kind.CATEGORIES),
        (TAR, Kind.SHARD),
        (TABLE, Kind.SHARD),
        (RECEIPT, Kind.SHARD),
        ("shards.parquet", Kind.INDEX),
        ("_info.json", Kind.INDEX),
        ("README.md", Kind.INDEX),
    ],
)
def test_fifo_is_found_and_repaired(name: str, kind: Kind, copy: OnDisk, baked: Path) -> None:
    replace_with_fifo(copy.path / name)
    expected = [(kind, name)]
    assert [problem[:2] for problem in problems(copy)] == expected
    assert [problem[:2] for problem in repair(copy.path, executor=SERIAL, dry_run=True).problems] == expected
    assert [problem[:2] for problem in repair(copy.path, executor=SERIAL).problems] == expected
    assert snapshot(copy.path) == snapshot(baked)


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize("call", [verify, repair])
def test_fifo_as_spec_is_an_error(call: Callable[..., object], copy: OnDisk) -> None:
    replace_with_fifo(copy.path / "spec.yaml")
    with pytest.raises(InputError, match=r"has lost its spec\.yaml"):
        call(copy.path, executor=SERIAL)


# Which shards


def test_wrong_pixels_are_repaired(copy: OnDisk, baked: Path) -> None:
    swap_two_images(copy)
    assert repair(copy.path, executor=SERIAL).problems == ()
    result = repair(copy.path, executor=SERIAL, rerender=75)
    assert {problem.kind for problem in result.problems} == {Kind.PIXELS}
    assert [shard.name for shard in result.baked] == [NAME]
    assert snapshot(copy.path) == snapshot(baked)


def test_part_is_repaired_alone(copy: OnDisk, baked: Path) -> None:
    for name in ("train-000001.tar", TAR):
        (copy.path / name).unlink()
    result = repair(copy.path, executor=SERIAL, shards="3:5")
    assert [shard.name for shard in result.baked] == [NAME]
    assert not result.wrote_index
    assert not (copy.path / "train-000001.tar").exists()
    repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


def test_unbaked_shards_are_baked(spec: Spec, baked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bake(spec, out, executor=SERIAL, shards="2:4")
    result = repair(out, executor=SERIAL)
    assert {problem.kind for problem in result.problems} == {Kind.UNBAKED}
    assert len(result.baked) == 10
    assert snapshot(out) == snapshot(baked)


RESUME: dict[str, Callable[[OnDisk], object]] = {
    "bake": lambda directory: bake(directory.spec, directory.path, executor=SERIAL),
    "repair": lambda directory: repair(directory.path, executor=SERIAL),
}


@pytest.mark.parametrize("name", RESUME)
def test_interrupted_repair_resumes(name: str, copy: OnDisk, baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swap_two_images(copy)  # to `bake` and to `repair` without rendering this shard looks done
    for path in sorted(copy.path.glob("*.tar"))[4:6]:
        flip(path)

    def fail(writer: TarWriter) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TarWriter, "close", fail)
        with pytest.raises(OSError, match="No space left"):
            repair(copy.path, executor=SERIAL, rerender=75)
    RESUME[name](copy)
    assert snapshot(copy.path) == snapshot(baked)


def test_failed_shard_does_not_stop_the_others(copy: OnDisk, baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("train-000001", NAME, "validation-000000")
    for name in names:
        flip(copy.path / f"{name}.tar")
    bake_shard = baking.bake_shard

    def fail_for_one(directory: Directory, shard: baking.Shard) -> Receipt:
        if shard.name == NAME:
            raise ValueError("no luck")
        return bake_shard(directory, shard)

    with monkeypatch.context() as patch:
        patch.setattr(baking, "bake_shard", fail_for_one)
        result = repair(copy.path, executor=SERIAL)
    assert result.failures == {NAME: "no luck"}
    assert [shard.name for shard in result.baked] == [name for name in names if name != NAME]
    assert not result.wrote_index
    assert {problem.shard for problem in problems(copy) if problem.kind != Kind.INDEX} == {NAME}
    repair(copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


# Categories


def test_given_categories_must_be_given_again(spec: Spec, other_table: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = other_table.slice(0, 5)
    bake(spec, out, categories=given, executor=SERIAL)
    valid = snapshot(out)
    os.truncate(out / "categories.parquet", 500)
    harmed = snapshot(out)
    other = search_categories(spec.replace(seed=3)).table
    for table, message in ((None, "--categories-from"), (other, "`categories` does not hold the categories")):
        with pytest.raises(InputError, match=message):
            repair(out, categories=table, executor=SERIAL)
        assert snapshot(out) == harmed
    repair(out, categories=given, executor=SERIAL)
    assert snapshot(out) == valid


def test_other_categories_are_refused(baked: Path, other_table: pa.Table) -> None:
    with pytest.raises(InputError, match="`categories` does not hold the categories that"):
        repair(baked, categories=other_table.slice(0, 5), executor=SERIAL)


# The command


def test_command_prints_what_it_does(copy: OnDisk, baked: Path) -> None:
    out = copy.path
    HARMS["tar truncated"](copy)
    shutil.copy(out / "train-000001.tar", out / "train-000044.tar")
    lines = [str(problem) for problem in problems(copy)]
    dry = invoke("repair", out, "--dry-run", "--workers", "1")
    assert dry.stdout.splitlines() == [
        *lines,
        f"{out}: would delete train-000044.tar",
        f"{out}: would write {TAR}, the index",
    ]
    wet = invoke("repair", out, "--workers", "1")
    assert wet.stdout.splitlines() == [*lines, f"{out}: deleted train-000044.tar", f"{out}: wrote {TAR}, the index"]
    again = invoke("repair", out, "--workers", "1")
    assert again.stdout == f"{out}: nothing to repair\n"
    assert [run.exception for run in (dry, wet, again)] == [None] * 3
    assert snapshot(out) == snapshot(baked)


def test_command_notes_other_versions(copy: OnDisk) -> None:
    path = copy.path / "spec.yaml"
    path.write_text(path.read_text().replace("numba: ", "numba: 0.1."))
    assert open_directory(copy.path).dataset.hash == copy.dataset.hash
    HARMS["tar deleted"](copy)
    result = invoke("repair", copy.path, "--workers", "1")
    assert "note: these shards are baked with other versions than the rest: `made_with.numba` is " in result.stdout


def test_command_takes_categories(spec: Spec, other_table: pa.Table, tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "table.parquet"
    pq.write_table(other_table.slice(0, 5), table)
    bake(spec, out, categories=pq.read_table(table), executor=SERIAL)
    valid = snapshot(out)
    (out / "categories.parquet").unlink()
    assert isinstance(invoke("repair", out, "--workers", "1").exception, InputError)
    result = invoke("repair", out, "--categories-from", table, "--workers", "1")
    assert result.exception is None
    assert f"{out}: wrote categories.parquet" in result.stdout
    assert snapshot(out) == valid


def test_advice_of_verify_repairs(copy: OnDisk, baked: Path) -> None:
    swap_two_images(copy)
    selection = ("--rerender", "75", "--shards", "2:5", "--split", "train")
    verified = invoke("verify", copy.path, *selection, "--workers", "1")
    advice = shlex.split(str(verified.exception).split("next: fdsl ")[1])
    assert {"--rerender", "--seed", "--shards", "--split"} <= set(advice)
    assert invoke(*advice, "--workers", "1").exception is None
    assert snapshot(copy.path) == snapshot(baked)
