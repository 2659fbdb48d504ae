"""Repairing: whatever was done to a directory, it ends with the bytes of an undisturbed bake, and nothing good is touched."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards import InputError, Spec, bake, repair, sample_categories, verify
from shards.directory import Directory, open_directory
from shards.tar import TarWriter
from tests.shards.conftest import NAME, run_fdsl, shards_of, snapshot
from tests.shards.harm import damage, members, pack, reseal


def flip(path: Path) -> None:
    damage(path, path.stat().st_size // 2)


def relabel(directory: Directory) -> None:
    """Swap two images and vouch for it."""
    shard = shards_of(directory)[NAME]
    files = members(directory.tar(shard))
    (one, first), label, (other, second), *rest = files
    pack(directory.tar(shard), [(one, second), label, (other, first), *rest])
    reseal(directory, shard)


HARMS: dict[str, Callable[[Directory], object]] = {
    "a tar removed": lambda d: (d.path / f"{NAME}.tar").unlink(),
    "a tar truncated": lambda d: os.truncate(d.path / f"{NAME}.tar", 3000),
    "a tar emptied": lambda d: os.truncate(d.path / f"{NAME}.tar", 0),
    "a bit of a tar flipped": lambda d: flip(d.path / f"{NAME}.tar"),
    "a tar prolonged": lambda d: os.truncate(d.path / f"{NAME}.tar", 10**6),
    "two tars exchanged": lambda d: (
        shutil.copy(d.path / "train-000001.tar", d.path / "kept"),
        shutil.copy(d.path / f"{NAME}.tar", d.path / "train-000001.tar"),
        (d.path / "kept").rename(d.path / f"{NAME}.tar"),
    ),
    "a tar too many": lambda d: shutil.copy(d.path / f"{NAME}.tar", d.path / "train-000009.tar"),
    "a receipt removed": lambda d: (d.path / "receipts" / f"{NAME}.json").unlink(),
    "a receipt edited": lambda d: flip(d.path / "receipts" / f"{NAME}.json"),
    "a receipt too many": lambda d: shutil.copy(
        d.path / "receipts" / f"{NAME}.json", d.path / "receipts/train-000077.json"
    ),
    "a table removed": lambda d: (d.path / "samples" / f"{NAME}.parquet").unlink(),
    "a table edited": lambda d: flip(d.path / "samples" / f"{NAME}.parquet"),
    "a table too many": lambda d: shutil.copy(
        d.path / "samples" / f"{NAME}.parquet", d.path / "samples/train-000077.parquet"
    ),
    "the index removed": lambda d: (d.path / "shards.parquet").unlink(),
    "the card removed": lambda d: (d.path / "README.md").unlink(),
    "the info edited": lambda d: (d.path / "_info.json").write_text("{}"),
    "the categories removed": lambda d: (d.path / "categories.parquet").unlink(),
    "the categories edited": lambda d: flip(d.path / "categories.parquet"),
    "something half written": lambda d: (d.path / ".train-000003.tar.77@elsewhere.tmp").write_bytes(b"half"),
    "all shards removed": lambda d: [path.unlink() for path in d.path.glob("*.tar")],
    "the folders removed": lambda d: [shutil.rmtree(d.path / name) for name in ("samples", "receipts")],
}


@pytest.mark.parametrize("harm", HARMS)
def test_every_harm_is_undone(harm: str, copy: Directory, baked: Path) -> None:
    HARMS[harm](copy)
    assert snapshot(copy.path) != snapshot(baked)
    harmed = snapshot(copy.path)
    foretold = repair(copy.path, workers=1, dry_run=True)
    assert snapshot(copy.path) == harmed
    done = repair(copy.path, workers=1)
    assert snapshot(copy.path) == snapshot(baked)
    if not foretold.categories:
        assert dataclasses.replace(done, directory=foretold.directory) == foretold
    assert verify(copy.path, workers=1).problems == ()


@pytest.mark.parametrize("seed", range(6))
def test_many_harms_at_once_are_undone(seed: int, copy: Directory, baked: Path) -> None:
    rng = random.Random(seed)
    for harm in rng.sample(sorted(HARMS), 4):
        try:
            HARMS[harm](copy)
        except FileNotFoundError:  # another harm was first
            continue
    repair(copy.path, workers=2)
    assert snapshot(copy.path) == snapshot(baked)


def test_exactly_what_is_wrong_is_made_again(copy: Directory) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.path.rglob("*.*") if path.is_file()}
    HARMS["a bit of a tar flipped"](copy)
    done = repair(copy.path, workers=1)
    assert [shard.name for shard in done.made] == [NAME]
    after = {path for path, time_ns in before.items() if path.stat().st_mtime_ns != time_ns}
    made = {f"{NAME}.tar", f"samples/{NAME}.parquet", f"receipts/{NAME}.json"}
    index = {"shards.parquet", "_info.json", "README.md"}
    assert {str(path.relative_to(copy.path)) for path in after} == made | index


def test_nothing_is_touched_where_nothing_is_wrong(baked: Path) -> None:
    done = repair(baked, workers=1)
    assert (done.problems, done.made, done.removed, done.index) == ((), (), (), False)


def test_files_of_the_users_own_stay(copy: Directory) -> None:
    own = ("notes.txt", "receipts/notes.txt", "my-train.tar", "samples/own.parquet")
    alike = ("train.tar", "train-my-backup.tar", "validation-imagenet.tar", "receipts/train-log.json")
    for name in (*own, *alike):
        (copy.path / name).write_text("mine")
    before = snapshot(copy.path)
    done = repair(copy.path, workers=1)
    assert snapshot(copy.path) == before
    assert [problem.split(": ")[0] for problem in done.problems] == sorted(alike[:3]) + [alike[3]]
    said = run_fdsl("repair", copy.path)
    names = f"{', '.join(sorted(alike[:3]))}, {alike[3]}"
    assert f"{copy.path}: left as they are, for they may be yours: {names}; move them elsewhere" in said.stderr
    assert said.returncode == 1


PLACES = [f"{NAME}.tar", f"samples/{NAME}.parquet", f"receipts/{NAME}.json", "categories.parquet", "_info.json"]


@pytest.mark.parametrize("name", PLACES)
def test_a_folder_in_a_files_place_is_named_before_anything_is_changed(name: str, copy: Directory, baked: Path) -> None:
    (copy.path / name).unlink()
    (copy.path / name).mkdir()
    (copy.path / "train-000001.tar").unlink()
    before = snapshot(copy.path)
    for dry_run in (True, False):
        with pytest.raises(
            InputError, match=f": {name}: a folder in a file's place, or a file in a folder's; remove it$"
        ):
            repair(copy.path, workers=1, dry_run=dry_run)
    assert snapshot(copy.path) == before
    (copy.path / name).rmdir()
    repair(copy.path, workers=1)
    assert snapshot(copy.path) == snapshot(baked)


@pytest.mark.parametrize("name", ["samples", "receipts"])
def test_a_file_in_a_folders_place_is_named_before_anything_is_changed(name: str, copy: Directory, baked: Path) -> None:
    shutil.rmtree(copy.path / name)
    (copy.path / name).write_text("no folder")
    before = snapshot(copy.path)
    with pytest.raises(InputError, match=f": {name}: a folder in a file's place"):
        repair(copy.path, workers=1)
    assert snapshot(copy.path) == before
    (copy.path / name).unlink()
    repair(copy.path, workers=1)
    assert snapshot(copy.path) == snapshot(baked)


@pytest.mark.parametrize(
    "name", ["categories.parquet", f"receipts/{NAME}.json", "shards.parquet", "_info.json", "spec.yaml"]
)
def test_nothing_is_waited_for(name: str, copy: Directory) -> None:
    (copy.path / name).unlink()
    os.mkfifo(copy.path / name)
    with contextlib.suppress(InputError):
        assert verify(copy.path, workers=1).problems != ()
    with contextlib.suppress(InputError):
        assert repair(copy.path, workers=1, dry_run=True).problems != ()


def test_what_only_rendering_finds_is_undone(copy: Directory, baked: Path) -> None:
    relabel(copy)
    assert repair(copy.path, workers=1).problems == ()
    done = repair(copy.path, workers=1, rerender=75)
    assert [shard.name for shard in done.made] == [NAME]
    assert snapshot(copy.path) == snapshot(baked)


def test_a_part_is_repaired_alone(copy: Directory, baked: Path) -> None:
    for name in ("train-000001", NAME):
        (copy.path / f"{name}.tar").unlink()
    done = repair(copy.path, workers=1, window="3:5")
    assert [shard.name for shard in done.made] == [NAME]
    assert not (copy.path / "train-000001.tar").exists()
    repair(copy.path, workers=1)
    assert snapshot(copy.path) == snapshot(baked)


def test_what_was_never_baked_is_missing(spec: Spec, baked: Path, tmp_path: Path) -> None:
    bake(spec, tmp_path / "out", workers=1, window="2:4")
    repair(tmp_path / "out", workers=1)
    assert snapshot(tmp_path / "out") == snapshot(baked)


def test_a_repair_that_fails_is_gone_on_with(copy: Directory, baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in sorted(copy.path.glob("*.tar"))[2:6]:
        flip(path)
    with monkeypatch.context() as patch:
        patch.setattr(TarWriter, "close", lambda self: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            repair(copy.path, workers=1)
    repair(copy.path, workers=1)
    assert snapshot(copy.path) == snapshot(baked)


def test_imported_categories_must_be_given(spec: Spec, other_table: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = other_table.slice(0, 5)
    bake(spec, out, table=few, workers=1)
    whole = snapshot(out)
    os.truncate(out / "categories.parquet", 500)
    harmed = snapshot(out)
    other = sample_categories(dataclasses.replace(spec, seed=3)).table
    for table, told in ((None, "--categories-from"), (other, "that is given is not the one of")):
        with pytest.raises(InputError, match=told):
            repair(out, table=table, workers=1)
        assert snapshot(out) == harmed
    repair(out, table=few, workers=1)
    assert snapshot(out) == whole


def test_another_table_is_refused_even_where_nothing_is_wrong(copy: Directory, other_table: pa.Table) -> None:
    with pytest.raises(InputError, match="that is given is not the one of"):
        repair(copy.path, table=other_table.slice(0, 5), workers=1)


def test_what_verify_advises_repairs_what_it_found(copy: Directory, baked: Path) -> None:
    relabel(copy)
    found = run_fdsl("verify", copy.path, "--rerender", "75", "--shards", "2:5", "--split", "train")
    assert found.returncode == 1
    advice = found.stderr.splitlines()[-1].split("next: fdsl ")[1].split()
    assert {"--rerender", "--seed", "--shards", "--split"} <= set(advice)
    assert run_fdsl(*advice).returncode == 0
    assert snapshot(copy.path) == snapshot(baked)


def test_an_edited_spec_is_not_guessed(copy: Directory) -> None:
    path = copy.path / "spec.yaml"
    path.write_text(path.read_text().replace("seed: 7", "seed: 8"))
    with pytest.raises(InputError, match=r"spec\.yaml` was edited.*restore it: `fdsl bake SPEC -o NEW --shards 0:1`"):
        repair(copy.path, workers=1)


def test_the_command_says_what_it_does(copy: Directory, baked: Path) -> None:
    out = copy.path
    HARMS["a tar truncated"](copy)
    shutil.copy(out / "train-000001.tar", out / "train-000044.tar")
    problems = verify(out, workers=1).problems
    dry = run_fdsl("repair", out, "--dry-run", "--workers", "1")
    assert dry.stdout.splitlines() == [
        *problems,
        f"{out}: would remove: train-000044.tar",
        f"{out}: would make again: {NAME}.tar, the index",
    ]
    done = run_fdsl("repair", out, "--workers", "1")
    assert (dry.returncode, done.returncode) == (0, 0)
    assert done.stdout.splitlines() == [
        *problems,
        f"{out}: removed: train-000044.tar",
        f"{out}: made again: {NAME}.tar, the index",
    ]
    again = run_fdsl("repair", out)
    assert (again.stdout, again.returncode) == (f"{out}: nothing to repair\n", 0)
    assert snapshot(out) == snapshot(baked)


def test_the_command_tells_that_other_versions_repair(copy: Directory) -> None:
    path = copy.path / "spec.yaml"
    there = open_directory(copy.path)
    path.write_text(path.read_text().replace("numba: ", "numba: 0.1."))
    assert open_directory(copy.path).hash == there.hash
    HARMS["a tar removed"](copy)
    done = run_fdsl("repair", copy.path)
    assert "note: what is made now is made with other versions than the rest: `made_with.numba` is " in done.stdout


def test_the_command_takes_categories_that_are_given(spec: Spec, other_table: pa.Table, tmp_path: Path) -> None:
    out, table = tmp_path / "out", tmp_path / "table.parquet"
    pq.write_table(other_table.slice(0, 5), table)
    bake(spec, out, table=pq.read_table(table), workers=1)
    whole = snapshot(out)
    (out / "categories.parquet").unlink()
    refused = run_fdsl("repair", out)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("fdsl: `")
    assert run_fdsl("repair", out, "--categories-from", table).returncode == 0
    assert snapshot(out) == whole
    assert json.loads((out / "_info.json").read_text())["num_classes"] == 5
