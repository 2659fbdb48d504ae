"""Verifying: a right directory passes, and whatever is wrong with another is found, named and told without a traceback."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
import yaml

from shards import InputError, bake, verify
from shards.directory import Directory, Receipt, open_directory
from shards.index import write_index
from shards.plan import Shard
from shards.png import encode, head
from shards.tar import TarWriter, member
from shards.verify import verify_shard
from tests.shards.conftest import run_fdsl, shards_of, small_mapping, small_spec, snapshot

VERIFY = importlib.import_module("shards.verify")
NAME = "train-000003"
Members = list[tuple[str, bytes]]


@pytest.fixture
def shard(copy: Directory) -> Shard:
    return shards_of(copy)[NAME]


def problems(directory: Directory) -> tuple[str, ...]:
    return verify(directory.path, workers=1).problems


def the_problem(directory: Directory) -> str:
    """The one thing that is wrong, told in one line."""
    found = problems(directory)
    assert len(found) == 1, found
    assert len(found[0].splitlines()) == 1
    return found[0]


def damage(path: Path, at: int, bits: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= bits
    path.write_bytes(content)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reseal(directory: Directory, shard: Shard) -> None:
    """Make a shard's receipt, and the index, say what the shard's files now are: only their content can betray them."""
    tar, samples = directory.tar(shard).read_bytes(), directory.samples(shard).read_bytes()
    receipt = directory.read_receipt(shard)
    assert receipt is not None
    sealed = dataclasses.replace(
        receipt,
        bytes=len(tar),
        sha256=hashlib.sha256(tar).hexdigest(),
        md5=hashlib.md5(tar).hexdigest(),
        samples_sha256=hashlib.sha256(samples).hexdigest(),
    )
    directory.receipt(shard).write_text(sealed.to_json())
    write_index(directory)


def members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def pack(path: Path, files: Members) -> None:
    with path.open("wb") as file:
        tar = TarWriter(file)
        for name, payload in files:
            tar.add(name, payload)
        tar.close()


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
        assert found[0] == f"{path.name}: its SHA-256 is not its receipt's: one of the two was changed after the bake"
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


# A shard whose receipt was made to fit: only its content tells


def other_png(size_px: int, bit_depth: int) -> bytes:
    return encode(np.zeros((size_px, size_px), dtype=np.uint8), bit_depth)


def replaced(at: int, payload: bytes) -> Callable[[Members], Members]:
    return lambda files: [(name, payload if k == at else old) for k, (name, old) in enumerate(files)]


def renamed(at: int, name: str) -> Callable[[Members], Members]:
    return lambda files: [(name if k == at else old, payload) for k, (old, payload) in enumerate(files)]


def edited_png(edit: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    return lambda files: replaced(2, edit(files[2][1]))(files)


def flipped(payload: bytes) -> bytes:
    at = len(payload) // 2
    return payload[:at] + bytes([payload[at] ^ 4]) + payload[at + 1 :]


COLOUR_PNG = bytes(cv2.imencode(".png", np.zeros((64, 64, 3), dtype=np.uint8))[1])
KEY = r"\d{6}_\d{6}"
CONTENT: dict[str, tuple[Callable[[Members], Members], str]] = {
    "wrong label": (replaced(3, b"99"), rf"{KEY}\.cls is b'99'; the label is \d"),
    "label with a newline": (lambda f: replaced(3, f[3][1] + b"\n")(f), rf"{KEY}\.cls is b'\d\\n'; the label is \d"),
    "empty label": (replaced(3, b""), rf"{KEY}\.cls is b''; the label is \d"),
    "another category": (
        lambda f: replaced(3, b"%d" % ((int(f[3][1]) + 1) % 5))(f),
        rf"{KEY}\.cls is b'\d'; the label is \d",
    ),
    "swapped samples": (lambda f: [*f[2:4], *f[:2], *f[4:]], rf"has '{KEY}\.png' where {KEY}\.png should stand"),
    "swapped members": (lambda f: [f[1], f[0], *f[2:]], rf"has '{KEY}\.cls' where {KEY}\.png should stand"),
    "first sample missing": (lambda f: f[2:], rf"has '{KEY}\.png' where {KEY}\.png should stand"),
    "last label missing": (lambda f: f[:-1], rf"ends before {KEY}\.cls"),
    "last sample missing": (lambda f: f[:-2], rf"ends before {KEY}\.png"),
    "no members": (lambda f: [], rf"ends before {KEY}\.png"),
    "extra member": (lambda f: [*f, ("000009_000000.png", b"")], r"goes on with '000009_000000\.png' after its last"),
    "sample twice": (lambda f: [*f, *f[:2]], rf"goes on with '{KEY}\.png' after its last"),
    "path outside": (renamed(2, "../../evil.png"), rf"has '\.\./\.\./evil\.png' where {KEY}\.png should stand"),
    "absolute path": (renamed(2, "/tmp/evil.png"), rf"has '/tmp/evil\.png' where {KEY}\.png should stand"),
    "newline in a name": (renamed(2, "a\nb.png"), rf"has 'a\\nb\.png' where {KEY}\.png should stand"),
    "another size": (lambda f: replaced(2, other_png(65, f[2][1][24]))(f), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "another depth": (
        lambda f: replaced(2, other_png(64, 9 - f[2][1][24]))(f),
        rf"{KEY}\.png is not a 64 x 64 px grey PNG of [18] bit",
    ),
    "colour": (replaced(2, COLOUR_PNG), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "garbage": (replaced(2, b"garbage" * 40), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "nothing": (replaced(2, b""), rf"{KEY}\.png is not a 64 x 64 px grey PNG"),
    "only a head": (edited_png(lambda png: png[:33]), rf"{KEY}\.png cannot be decoded"),
    "garbage after the head": (edited_png(lambda png: png[:33] + b"garbage" * 40), rf"{KEY}\.png cannot be decoded"),
    "truncated": (edited_png(lambda png: png[: len(png) // 2]), rf"{KEY}\.png cannot be decoded"),
    "flipped bit": (edited_png(flipped), rf"{KEY}\.png cannot be decoded"),
}


@pytest.mark.parametrize("which", CONTENT)
def test_content_that_is_not_the_plans_is_found_in_a_resealed_shard(which: str, copy: Directory, shard: Shard) -> None:
    change, told = CONTENT[which]
    pack(copy.tar(shard), change(members(copy.tar(shard))))
    reseal(copy, shard)
    before = snapshot(copy.path.parent)
    assert re.match(rf"{NAME}\.tar: {told}", the_problem(copy))
    assert snapshot(copy.path.parent) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_regular_file_is_found(kind: bytes, copy: Directory, shard: Shard) -> None:
    files = members(copy.tar(shard))
    with tarfile.open(copy.tar(shard), "w", format=tarfile.USTAR_FORMAT) as tar:
        for k, (name, payload) in enumerate(files):
            info = tarfile.TarInfo(name)
            if k == 3:
                info.type, info.linkname = kind, "/etc/passwd"
            else:
                info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    reseal(copy, shard)
    assert re.match(rf"{NAME}\.tar: has '{KEY}\.cls.*' where {KEY}\.cls should stand", the_problem(copy))


@pytest.mark.parametrize("size", [b"99999999999\0", b"\x80" + b"\x7f" * 11, b"\xff" * 12, b"not a number"])
def test_a_member_of_an_absurd_size_is_found(size: bytes, copy: Directory, shard: Shard) -> None:
    header = bytearray(member(members(copy.tar(shard))[0][0].encode(), b""))
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    copy.tar(shard).write_bytes(bytes(header) + bytes(1024))
    reseal(copy, shard)
    assert {problem.split(": ")[0] for problem in problems(copy)} == {f"{NAME}.tar"}


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x1f\x8b" + bytes(600), bytes(10_240)])
def test_what_is_no_tar_is_found(content: bytes, copy: Directory, shard: Shard) -> None:
    copy.tar(shard).write_bytes(content)
    reseal(copy, shard)
    assert the_problem(copy).startswith(f"{NAME}.tar: ")


def test_of_a_shard_that_is_all_wrong_a_few_problems_are_told(copy: Directory, shard: Shard) -> None:
    files = members(copy.tar(shard))
    pack(copy.tar(shard), [(name, b"99" if name.endswith(".cls") else payload) for name, payload in files])
    reseal(copy, shard)
    found = problems(copy)
    assert len(found) == 5
    assert all(".cls is b'99'; the label is " in problem for problem in found)


def increased(name: str) -> Callable[[pa.Table], pa.Table]:
    return lambda t: t.set_column(t.column_names.index(name), name, pa.compute.add(t[name], pa.scalar(1, pa.int32())))


TABLES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a row missing": lambda table: table.slice(1),
    "another order": lambda table: table.take(pa.array(range(table.num_rows - 1, -1, -1))),
    "another category": increased("category"),
    "another instance": increased("instance"),
    "no category": lambda table: table.drop_columns(["category"]),
    "no instance": lambda table: table.drop_columns(["instance"]),
    "nothing drawn": lambda table: table.drop_columns([table.column_names[-1]]),
    "no text": lambda table: table.set_column(1, "category", pa.array([b"\xff"] * len(table)).view(pa.string())),
}


@pytest.mark.parametrize("which", TABLES)
def test_a_table_that_is_not_the_plans_is_found_in_a_resealed_shard(which: str, copy: Directory, shard: Shard) -> None:
    path = copy.samples(shard)
    pq.write_table(TABLES[which](pq.read_table(path)), path)
    reseal(copy, shard)
    assert the_problem(copy).startswith(f"samples/{NAME}.parquet: ")


def test_what_is_no_table_is_found_in_a_resealed_shard(copy: Directory, shard: Shard) -> None:
    copy.samples(shard).write_bytes(b"garbage")
    reseal(copy, shard)
    assert the_problem(copy).startswith(f"samples/{NAME}.parquet: is not a Parquet file that can be read")


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
    assert "`note` (='mine') is not a key" in the_problem(copy)


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
        assert the_problem(copy).startswith("_info.json: does not say what the receipts say")


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


# The spec and the categories


def other_categories(path: Path) -> None:
    table = pq.read_table(path)
    attempts = [each + 1 for each in table["attempt"].to_pylist()]
    pq.write_table(table.set_column(1, table.schema.field("attempt"), pa.array(attempts, pa.int64())), path)


@pytest.mark.parametrize("edit", [other_categories, lambda path: os.truncate(path, 1500), Path.unlink])
def test_edited_categories_are_found(edit: Callable[[Path], None], copy: Directory) -> None:
    path = copy.path / "categories.parquet"
    edit(path)
    with pytest.raises(InputError, match=r"categories\.parquet") as error:
        verify(copy.path, workers=1)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("seed", range(4))
def test_damaged_categories_are_an_input_error_wherever_the_damage_is(seed: int, copy: Directory) -> None:
    path = copy.path / "categories.parquet"
    content, rng = path.read_bytes(), random.Random(seed)
    for _ in range(50):
        damage(path, rng.randrange(len(content)), 1 << rng.randrange(8))
        try:
            assert not verify(copy.path, workers=1, window="0:1").problems
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
        path.write_bytes(content)


def edited_spec(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda content: yaml.safe_dump({**yaml.safe_load(content), **changes}, sort_keys=False).encode()


def edited_baked(**changes: Any) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        mapping = yaml.safe_load(content)
        return yaml.safe_dump({**mapping, "baked": {**mapping["baked"], **changes}}).encode()

    return edit


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (edited_spec(seed=8), "was edited: its hash is"),
        (edited_spec(name="mine"), "was edited: its hash is"),
        (edited_spec(categories="many"), "`categories` \\(='many'\\) must be a whole number"),
        (edited_spec(colour="red"), "`colour` \\(='red'\\) is not a key"),
        (edited_spec(baked=None), "lacks the key `baked`"),
        (edited_spec(baked={}), "lacks the key `baked`"),
        (edited_baked(hash="0" * 64), "was edited: its hash is 0000"),
        (edited_baked(hash=None), "was edited: its hash is None"),
        (edited_baked(categories_sha256="0" * 64), "was edited: its hash is"),
        (edited_baked(categories_sha256=7), "lacks the key `baked`"),
        (edited_baked(format=2), "was baked in format 2 by fdsl"),
        (lambda content: b"- a list", "lacks the key `baked`"),
        (lambda content: b"", "lacks the key `baked`"),
        (lambda content: b"name: [", "is not YAML"),
        (lambda content: b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_an_edited_spec_is_found(edit: Callable[[bytes], bytes], told: str, copy: Directory) -> None:
    path = copy.path / "spec.yaml"
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(InputError, match=told) as error:
        verify(copy.path, workers=1)
    assert str(copy.path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "spec"])
def test_what_is_no_dataset_is_told_so(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("precious")
    elif kind != "missing":
        out.mkdir()
    if kind == "spec":
        (out / "spec.yaml").write_text(yaml.safe_dump(small_mapping("rcdb")))
    with pytest.raises(InputError, match=str(out)):
        verify(out, workers=1)


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


# Rendering again, and images that look odd


def test_the_images_chosen_are_rendered_again_and_equal(baked: Path) -> None:
    found = verify(baked, workers=1, rerender=40, seed=3)
    assert (found.problems, found.rerendered, found.seed) == ((), 40, 3)
    assert verify(baked, workers=1, rerender=1000).rerendered == 75


def test_the_images_are_chosen_by_the_seed_from_all_shards(baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[tuple[int, int]] = []
    render_again = VERIFY.render_again

    def spy(directory: Directory, category: int, instance: int) -> Any:
        chosen.append((category, instance))
        return render_again(directory, category, instance)

    monkeypatch.setattr(VERIFY, "render_again", spy)
    verify(baked, workers=1, rerender=75)
    assert set(chosen) == {(category, instance) for category in range(5) for instance in range(15)}
    sets = []
    for seed in (1, 1, 2):
        chosen.clear()
        verify(baked, workers=1, rerender=20, seed=seed)
        assert len(set(chosen)) == 20
        sets.append(set(chosen))
    assert sets[0] == sets[1] != sets[2]


def invert(directory: Directory, shard: Shard, k: int) -> str:
    """Put another image in the place of one, vouch for it, and return the name."""
    files = members(directory.tar(shard))
    name, payload = files[2 * k]
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    image = image.astype(np.uint8)
    image[0, :3] = 255 - image[0, :3]
    files[2 * k] = name, encode(image, directory.spec.rules.BIT_DEPTH)
    pack(directory.tar(shard), files)
    reseal(directory, shard)
    return name


def test_an_image_that_the_spec_does_not_render_is_found_and_named(copy: Directory, shard: Shard) -> None:
    name = invert(copy, shard, 2)
    assert problems(copy) == ()
    found = verify(copy.path, workers=2, rerender=75)
    assert found.problems == (
        f"{NAME}.tar: {name} is not what the spec renders here (3 of 4,096 pixels differ);"
        " it was edited after the bake, or this machine computes otherwise",
    )
    assert found.damaged == (shard,)


def test_other_versions_that_render_otherwise_are_named(copy: Directory, shard: Shard) -> None:
    path = copy.path / "spec.yaml"
    path.write_text(path.read_text().replace("numba: ", "numba: 0.1."))
    assert verify(copy.path, workers=1, rerender=75).problems == ()
    invert(copy, shard, 0)
    (problem,) = verify(copy.path, workers=1, rerender=75).problems
    there = f'"0.1.{numba.__version__}" there and "{numba.__version__}" here'
    assert problem.endswith(f"; it was baked with other versions: `made_with.numba` is {there}")


def test_a_row_that_is_not_what_is_drawn_is_found(copy: Directory, shard: Shard) -> None:
    path = copy.samples(shard)
    table = pq.read_table(path)
    name = table.column_names[-1]
    values = [value + 1.0 for value in table[name].to_pylist()]
    pq.write_table(table.set_column(len(table.column_names) - 1, name, pa.array(values)), path)
    reseal(copy, shard)
    assert problems(copy) == ()
    (problem,) = verify(copy.path, workers=1, rerender=75).problems
    assert problem.startswith(f"samples/{NAME}.parquet: has another row for ")


def replace(directory: Directory, shard: Shard, k: int, image: Any) -> str:
    """Put an image in the place of one, vouch for it, and return its key."""
    files = members(directory.tar(shard))
    files[2 * k] = files[2 * k][0], encode(image, directory.spec.rules.BIT_DEPTH)
    pack(directory.tar(shard), files)
    reseal(directory, shard)
    return files[2 * k][0].removesuffix(".png")


@pytest.mark.parametrize("what", ["empty", "full"])
def test_empty_and_full_images_are_told_and_not_wrong(what: str, copy: Directory, shard: Shard) -> None:
    background = copy.spec.rules.BACKGROUND
    assert verify(copy.path, workers=1).notes == ()
    blank = np.full((64, 64), background if what == "empty" else 255 - background, dtype=np.uint8)
    key = replace(copy, shard, 1, blank)
    found = verify(copy.path, workers=1)
    why = "nothing is drawn" if what == "empty" else "no background is left"
    assert found.problems == ()
    assert found.notes == (f"1 of the images are {what}: {why}: {key}",)


def test_images_that_are_equal_are_told_wherever_they_stand(copy: Directory, shard: Shard) -> None:
    checks = np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255
    keys = [
        replace(copy, each, k, checks)
        for each, k in ((shard, 1), (shard, 4), (shards_of(copy)["validation-000001"], 0))
    ]
    found = verify(copy.path, workers=2)
    assert found.notes == (f"3 images are not the only ones of their kind: {' = '.join(keys)}",)
    assert found.problems == ()


def test_the_command_prints_the_seed_with_which_it_can_be_repeated(baked: Path) -> None:
    first = run_fdsl("verify", baked, "--rerender", "9")
    said = re.search(r"^rendered 9 images again, chosen by --seed (\d+)$", first.stdout, re.MULTILINE)
    assert said is not None
    again = run_fdsl("verify", baked, "--rerender", "9", "--seed", said[1])
    assert again.stdout == first.stdout
    assert again.returncode == 0
