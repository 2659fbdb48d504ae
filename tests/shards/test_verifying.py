"""Verifying: a valid directory passes; files that contradict their receipts or the plan are found."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from fdsl import InputError, LiveDataset, LocalExecutor, bake, verify
from fdsl.dataset.live import pixels_sha256
from fdsl.dataset.plan import Shard
from shards import verifying
from shards.checking import Findings, check_shard, stored_pixels_sha256
from shards.directory import Unseen
from shards.events import Advanced, Event, Finished, Started
from shards.executors.contract import Failed
from shards.problems import Kind, Problem
from shards.stores.folder import Folder
from shards.stores.uploading import Unreachable
from tests.shards.conftest import NAME, ONE_FAMILY, SERIAL, shards_of, small_spec, snapshot
from tests.shards.disk import OnDisk, on_disk
from tests.shards.harm import damage, edit_json, invoke, problems, replace_image, the_problem

TAR, TABLE, RECEIPT = f"{NAME}.tar", f"samples/{NAME}.parquet", f"receipts/{NAME}.json"
WRONG_HASH = "its SHA-256 is not the receipt's: the file or the receipt changed after the bake"

# A valid directory


def test_valid_directory_passes(baked: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in [baked, *baked.rglob("*")]}
    result = verify(baked, executor=SERIAL)
    assert (result.n_shards, result.n_images, result.problems) == (12, 75, ())
    assert {path: path.stat().st_mtime_ns for path in [baked, *baked.rglob("*")]} == before, "verifying wrote something"


def test_moved_directory_passes(copy: OnDisk, tmp_path: Path) -> None:
    moved = copy.path.rename(tmp_path / "moved elsewhere")
    assert not verify(moved, executor=SERIAL).problems


def test_read_only_directory_passes(copy: OnDisk, mount_point: Path) -> None:
    subprocess.run(["mount", "--bind", copy.path, mount_point], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", mount_point], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        (mount_point / "try").touch()
    assert not verify(mount_point, executor=SERIAL).problems


@pytest.mark.slow
def test_two_workers_report_the_same_in_order(copy: OnDisk, shard: Shard) -> None:
    keys = [replace_image(copy, shard, k, np.zeros_like) for k in (1, 4)]
    names = ("train-000001", NAME, "train-000005", "validation-000002")
    for name in names:
        if name != NAME:
            damage(copy.path / f"{name}.tar", 700)
    one, two = (verify(copy.path, executor=LocalExecutor(n), rerender=75) for n in (1, 2))
    assert one == two
    assert list(dict.fromkeys(problem.shard for problem in one.problems)) == list(names)
    assert {problem.kind for problem in one.problems} == {Kind.SHARD, Kind.PIXELS}
    assert one.notes[-1] == f"2 images are exact duplicates of one another: {' = '.join(keys)}"


def test_events_count_every_image(baked: Path) -> None:
    events: list[Event] = []
    verify(baked, executor=SERIAL, listener=events.append)
    first, *advances, last = events
    assert first == Started("verify", f"small-{baked.name}", "images", 75)
    assert last == Finished("verify")
    assert len(advances) == 12
    assert sum(event.n for event in advances if isinstance(event, Advanced)) == 75


@pytest.mark.parametrize(
    ("options", "n_problems"),
    [({"shards": "0:3"}, 0), ({"split": "validation"}, 0), ({"shards": "3:4"}, 1), ({"split": "train"}, 1)],
)
def test_part_is_verified_alone(options: dict[str, str], n_problems: int, copy: OnDisk, shard: Shard) -> None:
    copy.tar(shard).unlink()
    assert len(problems(copy, **options)) == n_problems


@pytest.mark.parametrize("options", [{"shards": "0:13"}, {"split": "test"}])
def test_wrong_part_is_refused(options: dict[str, str], baked: Path) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(options))}`"):
        verify(baked, executor=SERIAL, **options)  # type: ignore[arg-type]


def test_split_without_images_is_valid(tmp_path: Path) -> None:
    bake(small_spec("rcdb", instances={"train": 5}), tmp_path, executor=SERIAL)
    result = verify(tmp_path, executor=SERIAL, split="validation")
    assert (result.n_shards, result.n_images, result.problems) == (0, 0, ())


def test_unbaked_shards_have_their_own_kind(tmp_path: Path) -> None:
    directory = bake(small_spec("rcdb"), tmp_path, executor=SERIAL, shards="0:2").directory
    assert not problems(directory, shards="0:2")
    result = verify(tmp_path, executor=SERIAL)
    assert (result.n_shards, result.n_images) == (2, 13)
    assert {problem.kind for problem in result.problems} == {Kind.UNBAKED}
    assert [problem.shard for problem in result.problems] == list(shards_of(directory))[2:]


# Files that contradict their receipts


@pytest.mark.parametrize(("kind", "n_flips"), [("tar", 100), ("samples", 150)])
def test_any_flipped_bit_is_found(kind: str, n_flips: int, copy: OnDisk, shard: Shard) -> None:
    path: Path = getattr(copy, kind)(shard)
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(n_flips):
        damage(path, rng.randrange(len(content)), 1 << rng.randrange(8))
        problem = check_shard(copy, (shard, ())).problems[0]
        assert (problem.kind, problem.path) == (Kind.SHARD, str(path.relative_to(copy.path)))
        assert problem.detail == WRONG_HASH
        path.write_bytes(content)
    assert not check_shard(copy, (shard, ())).problems


def test_damaged_png_is_named(copy: OnDisk, shard: Shard, capfd: pytest.CaptureFixture[str]) -> None:
    damage(copy.tar(shard), 512 + 60)
    wrong_hash, wrong_png = problems(copy)
    assert wrong_hash == (Kind.SHARD, TAR, WRONG_HASH)
    assert wrong_png[:2] == (Kind.SHARD, TAR)
    assert re.fullmatch(r"\d{6}_\d{6}\.png cannot be decoded, or was not written by a bake", wrong_png.detail)
    assert capfd.readouterr() == ("", "")


@ONE_FAMILY
@pytest.mark.parametrize("length", [0, 1, 511, 512, 700, 5000, -1024, -1])
def test_truncated_tar_is_found(length: int, copy: OnDisk, shard: Shard) -> None:
    n_bytes = copy.tar(shard).stat().st_size
    length %= n_bytes
    os.truncate(copy.tar(shard), length)
    assert the_problem(copy) == (Kind.SHARD, TAR, f"{length:,} bytes; its receipt says {n_bytes:,}")


@ONE_FAMILY
@pytest.mark.parametrize(
    ("missing", "kind", "path"),
    [
        ("tar", Kind.SHARD, TAR),
        ("samples", Kind.SHARD, TABLE),
        ("receipt", Kind.SHARD, TAR),
        ("tar receipt", Kind.UNBAKED, TAR),
        ("tar samples receipt", Kind.UNBAKED, TAR),
    ],
)
def test_missing_file_is_found(missing: str, kind: Kind, path: str, copy: OnDisk, shard: Shard) -> None:
    for name in missing.split():
        getattr(copy, name)(shard).unlink()
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (kind, path)


def test_bake_replaces_a_deleted_tar(copy: OnDisk, shard: Shard, baked: Path) -> None:
    damage(copy.tar(shard), 2000)
    assert problems(copy)
    copy.tar(shard).unlink()
    bake(copy.spec, copy.path, executor=SERIAL)
    assert not problems(copy)
    assert snapshot(copy.path) == snapshot(baked)


def test_unreadable_file_is_found(copy: OnDisk, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the disk fails in the middle of a file."""
    open_path = Path.open

    class Broken(io.BytesIO):
        def read(self, n_bytes: int | None = -1) -> bytes:
            if self.tell() >= 4096:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(n_bytes)

    def fail_for_tar(path: Path, *arguments: Any, **options: Any) -> Any:
        file = open_path(path, *arguments, **options)
        if path != copy.tar(shard):
            return file
        with file:
            return Broken(file.read())

    monkeypatch.setattr(Path, "open", fail_for_tar)
    assert the_problem(copy) == (Kind.SHARD, TAR, "cannot be read: Input/output error")


def test_failed_check_is_a_problem(baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_once(directory: OnDisk, task: tuple[Shard, object]) -> Findings:
        if task[0].name == NAME:
            raise MemoryError("no memory")
        return check_shard(directory, (task[0], ()))

    monkeypatch.setattr(verifying, "check_shard", fail_once)
    result = verify(baked, executor=SERIAL)
    assert result.problems == (Problem(Kind.SHARD, f"{NAME}.tar", "could not be checked: no memory"),)
    assert result.n_shards == 11


# Receipts


@ONE_FAMILY
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("samples", 8), ("samples", "7"), ("samples", None), ("bytes", 1), ("bytes", "many"), ("bytes", [1]),
        ("sha256", "0" * 64), ("sha256", 5), ("samples_sha256", "0" * 64), ("split", "validation"),
        ("shard", "train-000004.tar"), ("spec", "0" * 64), ("spec", None), ("md5", "0" * 32), ("note", "mine"),
    ],
)  # fmt: skip
def test_edited_receipt_is_found(key: str, value: Any, copy: OnDisk, shard: Shard) -> None:
    edit_json(copy.receipt(shard), **{key: value})
    shard_problems = [problem for problem in problems(copy) if problem.kind == Kind.SHARD]
    assert shard_problems
    assert {problem.shard for problem in shard_problems} == {NAME}


def test_reformatted_receipt_is_found(copy: OnDisk, shard: Shard) -> None:
    path = copy.receipt(shard)
    path.write_text(json.dumps(json.loads(path.read_text())))
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.SHARD, RECEIPT)
    assert problem.detail.startswith("was reformatted")


@ONE_FAMILY
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"shard": "train-000003.tar"}'])
def test_unreadable_receipt_is_found(content: bytes, copy: OnDisk, shard: Shard) -> None:
    copy.receipt(shard).write_bytes(content)
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.SHARD, RECEIPT)
    assert "is not a readable receipt" in problem.detail


def test_shard_of_another_dataset_is_found(copy: OnDisk, shard: Shard, tmp_path: Path) -> None:
    bake(small_spec(copy.spec.family, seed=8), tmp_path / "other", executor=SERIAL, shards="3:4")
    other = on_disk(tmp_path / "other")
    for path in (other.tar(shard), other.samples(shard), other.receipt(shard)):
        shutil.copy(path, copy.path / path.relative_to(other.path))
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.SHARD, RECEIPT)
    assert f"belongs to another dataset: `spec` is {other.dataset.hash}, not {copy.dataset.hash}" in problem.detail


def test_swapped_receipts_are_found(copy: OnDisk, shard: Shard) -> None:
    one, other = copy.receipt(shard), copy.receipt(shards_of(copy)["train-000000"])
    one_content, other_content = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_content)
    other.write_bytes(one_content)
    result = problems(copy)
    assert {problem.kind for problem in result} == {Kind.SHARD}
    assert {problem.shard for problem in result} == {NAME, "train-000000"}


# Files that are written last, and files that do not belong


@ONE_FAMILY
@pytest.mark.parametrize("content", [None, b""])
@pytest.mark.parametrize("name", ["_info.json", "shards.parquet", "README.md"])
def test_missing_index_file_is_found_and_baked(name: str, content: bytes | None, copy: OnDisk, baked: Path) -> None:
    (copy.path / name).unlink()
    if content is not None:
        (copy.path / name).write_bytes(content)
    assert the_problem(copy) == (Kind.INDEX, name, "is missing or empty, although all shards are done")
    bake(copy.spec, copy.path, executor=SERIAL)
    assert snapshot(copy.path) == snapshot(baked)


INFO_EDITS: dict[str, Callable[[Any], Any]] = {
    "wrong count": lambda info: info["splits"]["train"].update(num_samples=61),
    "another order": lambda info: info["splits"]["train"]["filenames"].reverse(),
    "no validation": lambda info: info["splits"].pop("validation"),
    "wrong hash": lambda info: info["splits"]["train"]["shard_sha256"].reverse(),
    "wrong size": lambda info: info["splits"]["train"]["shard_bytes"].append(1),
    "another dataset": lambda info: info.update(spec_hash="0" * 64),
    "unknown key": lambda info: info.update(note="mine"),
}


@ONE_FAMILY
def test_edited_info_is_found(copy: OnDisk) -> None:
    path = copy.path / "_info.json"
    original = path.read_text()
    contents = [b"{", b"\xff\xfe", b"[]", b"[" * 9999]
    for edit in INFO_EDITS.values():
        info = json.loads(original)
        edit(info)
        contents.append(json.dumps(info).encode())
    for content in contents:
        path.write_bytes(content)
        assert the_problem(copy) == (Kind.INDEX, "_info.json", "contradicts the receipts: it was edited")


@ONE_FAMILY
def test_edited_index_is_found(copy: OnDisk) -> None:
    path = copy.path / "shards.parquet"
    table = pq.read_table(path)
    edited = [
        table.slice(1),
        table.drop_columns(["sha256"]),
        table.set_column(2, "samples", pa.array([1] * 12, pa.int64())),
        table.append_column("note", table["name"]),
    ]
    for content in edited:
        pq.write_table(content, path)
        assert the_problem(copy) == (Kind.INDEX, "shards.parquet", "contradicts the receipts: it was edited")
    path.write_bytes(b"garbage")
    assert the_problem(copy) == (Kind.INDEX, "shards.parquet", "contradicts the receipts: it was edited")


@ONE_FAMILY
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train-000009.tar", Kind.EXTRA),
        ("validation-000003.tar", Kind.EXTRA),
        ("receipts/train-000009.json", Kind.EXTRA),
        ("train-copy.tar", Kind.FOREIGN),
        ("train.tar", Kind.FOREIGN),
    ],
)
def test_surplus_file_is_found(name: str, kind: Kind, copy: OnDisk, shard: Shard) -> None:
    shutil.copy(copy.tar(shard), copy.path / name)
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (kind, name)
    assert problem.detail.startswith("belongs to no shard of this dataset")


@ONE_FAMILY
@pytest.mark.parametrize("name", ["notes.txt", "my-train.tar", "samples/own.parquet", "receipts/notes.json"])
def test_files_with_other_names_are_ignored(name: str, copy: OnDisk) -> None:
    (copy.path / name).write_text("mine")
    assert not problems(copy)


# The command


def test_command_reports_a_valid_directory(baked: Path) -> None:
    result = invoke("verify", baked, "--workers", "1")
    assert result.exception is None
    _, *hashes = invoke("show", baked).stdout.splitlines(keepends=True)
    assert result.stdout == "".join([f"{baked}: 75 images in 12 shards are correct\n", *hashes])


def test_pixels_hash_is_that_of_what_is_stored(copy: OnDisk) -> None:
    """Of train's first images, over as many shards as they take."""
    live = LiveDataset(copy.dataset)
    assert verify(copy.path, executor=LocalExecutor(1)).pixels_sha256 == pixels_sha256(live, 1000)
    assert stored_pixels_sha256(copy, 7) == pixels_sha256(live, 7)


def test_command_lists_problems(copy: OnDisk, shard: Shard) -> None:
    damage(copy.tar(shard), 100)
    (copy.path / "validation-000001.tar").unlink()
    lines = [str(problem) for problem in problems(copy)]
    result = invoke("verify", copy.path, "--workers", "1")
    assert result.stdout.splitlines() == lines
    assert str(result.exception) == f"{copy.path}: {len(lines)} problems; next: fdsl repair {copy.path}"


def test_command_repeats_a_selection_by_its_seed(baked: Path) -> None:
    first = invoke("verify", baked, "--rerender", "9", "--workers", "1")
    match = re.search(r"^rendered 9 images again, selected by --seed (\d+)$", first.stdout, re.MULTILINE)
    assert match is not None
    second = invoke("verify", baked, "--rerender", "9", "--seed", match[1], "--workers", "1")
    assert (second.stdout, second.exception) == (first.stdout, None)


def test_foreign_files_are_not_sent_to_repair(copy: OnDisk) -> None:
    (copy.path / "train-000050.tar").mkdir()
    done = invoke("verify", copy.path, "--workers", "1")
    assert "1 problem; move or delete these files: they may be your own" in str(done.exception)


class Blind(LocalExecutor):
    """Workers that do not see the dataset."""

    def run(self, task: Any, items: Any) -> Any:
        """Fail each item."""
        return (Failed(item, Unseen("n7 does not see the dataset")) for item in items)


def test_blind_worker_ends_the_verification(baked: Path) -> None:
    with pytest.raises(Unseen, match="n7 does not see the dataset"):
        verify(baked, executor=Blind())


def test_store_that_does_not_answer_ends_the_command(copy: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Folder, name: str) -> None:
        raise Unreachable(0, "no answer", name)

    monkeypatch.setattr(Folder, "open", fail)
    with pytest.raises(Unreachable, match="no answer"):
        verify(copy.path, executor=SERIAL)
