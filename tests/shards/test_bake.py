"""Baking: the same bytes however it was done, images that their rows give again, and nothing good ever lost."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from shards import InputError, Spec, bake, render, sample_categories, verify
from shards.bake import stream_of
from shards.categories import table_sha256
from shards.directory import Directory, open_directory
from shards.plan import plan_shards
from shards.spec import parse_spec
from tests.shards.conftest import FDSL, dead_pid, members, shards_of, small_mapping, small_spec, snapshot

BAKE = importlib.import_module("shards.bake")
INDEX_FILES = {"README.md", "_info.json", "shards.parquet"}


def all_members(out: Path) -> dict[str, bytes]:
    return {name: payload for path in out.glob("*.tar") for name, payload in members(path).items()}


def pixels(payload: bytes) -> npt.NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image.astype(np.uint8)


# The same bytes


def test_seven_workers_make_the_bytes_of_one(spec: Spec, baked: Path, tmp_path: Path) -> None:
    done = bake(spec, tmp_path / "out", workers=7)
    assert snapshot(tmp_path / "out") == snapshot(baked)
    assert (done.images, done.shards, done.shards_found, done.shards_left) == (75, 12, 0, 0)


def test_a_directory_is_what_the_design_says(baked: Path) -> None:
    names = [shard.name for shard in plan_shards(open_directory(baked).spec)]
    assert len(names) == 12
    assert set(snapshot(baked)) == {
        "spec.yaml", "categories.parquet", "samples", "receipts", *INDEX_FILES,
        *(f"{name}.tar" for name in names),
        *(f"samples/{name}.parquet" for name in names),
        *(f"receipts/{name}.json" for name in names),
    }  # fmt: skip


def test_a_bake_that_was_cut_off_goes_on_to_the_same_bytes(copy: Directory, baked: Path) -> None:
    out = copy.path
    hidden = f".{dead_pid()}@{socket.gethostname()}.tmp"
    (out / "train-000000.tar").unlink()
    (out / "samples/train-000001.parquet").unlink()
    (out / "receipts/train-000002.json").unlink()
    os.truncate(out / "train-000003.tar", 5000)
    (out / "receipts/train-000004.json").write_text('{"shard": "train-0')
    for name in ("train-000005.tar", "samples/train-000005.parquet", "receipts/train-000005.json"):
        (out / name).rename((out / name).with_name(f".{Path(name).name}{hidden}"))
    for name in INDEX_FILES:
        (out / name).unlink()
    done = bake(copy.spec, out, workers=1)
    assert (done.shards, done.shards_found, done.shards_left) == (6, 6, 0)
    assert snapshot(out) == snapshot(baked)


def test_a_complete_directory_is_left_as_it_is(copy: Directory, baked: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in copy.path.rglob("*.tar")}
    done = bake(copy.spec, copy.path, workers=1)
    assert (done.images, done.shards, done.shards_found, done.shards_left) == (0, 0, 12, 0)
    assert snapshot(copy.path) == snapshot(baked)
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize("begun", ["folder", "folders", "spec", "spec and categories"])
def test_a_directory_that_was_only_begun_is_gone_on_with(begun: str, spec: Spec, baked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if begun != "folder":
        for name in ("samples", "receipts"):
            (out / name).mkdir()
    if "categories" in begun:
        shutil.copy(baked / "categories.parquet", out)
    if "spec" in begun:
        shutil.copy(baked / "spec.yaml", out)
    bake(spec, out, workers=1)
    assert snapshot(out) == snapshot(baked)


def test_slices_in_any_order_make_the_same_bytes_and_the_last_one_writes_the_index(
    spec: Spec, baked: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    left = 12
    for split, window, n_shards in (
        ("all", "8:11", 3),
        ("train", "0:2", 2),
        ("validation", "2:", 1),
        ("train", "1:5", 3),
        ("all", "5:8", 3),
    ):
        assert not INDEX_FILES & set(snapshot(out) if out.exists() else ())
        done = bake(spec, out, workers=1, split=split, window=window)
        left -= n_shards
        assert (done.shards, done.shards_left) == (n_shards, left)
    assert snapshot(out) == snapshot(baked)


def test_two_processes_at_once_make_the_same_bytes(spec: Spec, baked: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "spec.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(spec.to_mapping()))
    slices: list[list[str]] = [["--shards", "6:12"], ["--shards", "0:6"]]
    running = [
        subprocess.Popen(
            [FDSL, "bake", file, "-o", out, "--workers", "1", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for arguments in slices
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert snapshot(out) == snapshot(baked)


def test_a_relative_directory_is_meant_where_the_caller_stands(
    spec: Spec, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers keep running, and keep the working directory that they were started in."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        bake(spec, "out", workers=2)
        assert snapshot(tmp_path / name / "out") == snapshot(baked)
    (tmp_path / "other" / "out" / "train-000000.tar").write_bytes(b"")
    assert verify("out", workers=2).problems != ()
    monkeypatch.chdir(tmp_path / "one")
    assert verify("out", workers=2).problems == ()


def test_of_two_datasets_begun_in_one_directory_at_once_one_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    specs = [small_spec("exfractal", name=name) for name in ("one", "other")]
    for spec in specs:
        (tmp_path / f"{spec.name}.yaml").write_text(yaml.safe_dump(spec.to_mapping()))
    running = [
        subprocess.Popen(
            [FDSL, "bake", tmp_path / f"{spec.name}.yaml", "-o", out, "--workers", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for spec in specs * 2
    ]
    said = [process.communicate(timeout=120)[0] for process in running]
    status = [process.returncode for process in running]
    done = {specs[k % 2].name for k, code in enumerate(status) if code == 0}
    assert len(done) == 1, said
    for line, code in zip(said, status, strict=True):
        assert (code == 1) == ("holds another dataset: `name`" in line or "is being baked by process" in line), said
    bake(specs[status.index(0) % 2], tmp_path / "alone", workers=1)
    assert snapshot(out) == snapshot(tmp_path / "alone")


def test_a_table_of_the_other_family_is_not_rendered() -> None:
    table = sample_categories(small_spec("rcdb")).table
    with pytest.raises(InputError, match="holds categories of rcdb"):
        render(small_spec("exfractal"), table, 0, 0)


def test_a_neighbours_half_written_file_is_left_alone(copy: Directory, baked: Path) -> None:
    host = socket.gethostname()
    theirs = {
        f".train-000000.tar.{os.getppid()}@{host}.tmp",
        f".train-000001.tar.{dead_pid()}@elsewhere.tmp",
        f".train-000002.tar.{dead_pid()}@{host}-2.tmp",
        f".train-000003.tar.{dead_pid()}@other-{host}.tmp",
    }
    for name in theirs:
        (copy.path / name).write_bytes(b"half")
    (copy.path / "train-000000.tar").unlink()
    bake(copy.spec, copy.path, workers=1)
    assert set(snapshot(copy.path)) == set(snapshot(baked)) | theirs


def test_a_bake_that_fails_keeps_whole_shards_alone(
    spec: Spec, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, calls = BAKE.encode, []

    def fails_once(image: npt.NDArray[np.uint8], bit_depth: int) -> bytes:
        calls.append(bit_depth)
        if len(calls) == 18:
            raise OSError(28, "No space left on device")
        return encode(image, bit_depth)

    monkeypatch.setattr(BAKE, "encode", fails_once)
    with pytest.raises(OSError, match="No space left"):
        bake(spec, tmp_path / "out", workers=1)
    there = snapshot(tmp_path / "out")
    assert there.items() <= snapshot(baked).items()
    assert [name for name in there if name.endswith(".tar")] != []
    assert "train-000002.tar" not in there
    bake(spec, tmp_path / "out", workers=1)
    assert snapshot(tmp_path / "out") == snapshot(baked)


def test_a_receipt_comes_after_all_that_it_vouches_for(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, vouched = BAKE.write, []

    def spy(path: Path, content: bytes) -> None:
        if path.parent.name == "receipts":
            receipt = json.loads(content)
            out = path.parents[1]
            assert hashlib.sha256((out / receipt["shard"]).read_bytes()).hexdigest() == receipt["sha256"]
            assert (out / "samples" / f"{path.stem}.parquet").is_file()
            vouched.append(receipt["shard"])
        write(path, content)

    monkeypatch.setattr(BAKE, "write", spy)
    bake(spec, tmp_path / "out", workers=1)
    assert len(vouched) == 12


# The images

VARIANTS: dict[str, dict[str, Any]] = {
    "exfractal": small_mapping("exfractal"),
    "ring": small_mapping("exfractal", params={"points": 500, "viewpoint": "ring"}),
    "unweighted": small_mapping("exfractal", params={"points": 500, "weight_range": 0}),
    "rcdb": small_mapping("rcdb"),
    "drawn": small_mapping("rcdb", params={"label": ["vertices"], "vertices": [3, 40], "contours": [1, 9]}),
    "broken": small_mapping("rcdb", params={"vertices": [3, 40], "contours": [5, 9], "broken": 0.3}),
}


@pytest.mark.parametrize("which", VARIANTS)
def test_the_row_of_an_image_gives_its_pixels_again(which: str, tmp_path: Path) -> None:
    spec = parse_spec(VARIANTS[which])
    out = tmp_path / "out"
    bake(spec, out, workers=1)
    categories = spec.rules.unpack(spec.parameters, pq.read_table(out / "categories.parquet"))
    seen = set()
    for name in shards_of(open_directory(out)):
        files = members(out / f"{name}.tar")
        rows = pq.read_table(out / "samples" / f"{name}.parquet").to_pylist()
        assert [f"{row['key']}.png" for row in rows] == list(files)[::2]
        for row in rows:
            category, instance = row["category"], row["instance"]
            drawn = spec.rules.Drawn(**{field: row[field] for field in spec.rules.Drawn._fields})
            again = spec.rules.make(
                spec.parameters, spec.size_px, categories[category], stream_of(spec, category, instance), drawn
            )
            np.testing.assert_array_equal(again, pixels(files[f"{row['key']}.png"]))
            assert row["key"] == f"{category:06}_{instance:06}"
            assert files[f"{row['key']}.cls"] == str(category).encode()
            seen.add(again.tobytes())
    assert len(seen) == 75, "two images of the dataset are the same"


def test_one_image_can_be_rendered_alone(baked: Path, spec: Spec) -> None:
    table = pq.read_table(baked / "categories.parquet")
    files = all_members(baked)
    assert len(files) == 150
    for category, instance in ((0, 0), (4, 11), (2, 12), (3, 14)):
        image = render(spec, table, category, instance)
        assert (image.shape, image.dtype) == ((64, 64), np.uint8)
        np.testing.assert_array_equal(image, pixels(files[f"{category:06}_{instance:06}.png"]))


def test_images_depend_neither_on_shards_nor_on_how_many_there_are(family: str, baked: Path, tmp_path: Path) -> None:
    larger = small_spec(
        family,
        categories=6,
        instances={"train": 12, "validation": 4},
        shards={"samples": 16, "order": "by-category"},
        name="another-name",
    )
    bake(larger, tmp_path / "out", workers=1)
    assert all_members(baked).items() < all_members(tmp_path / "out").items()


def test_an_image_depends_on_its_split(family: str, baked: Path) -> None:
    table = pq.read_table(baked / "categories.parquet")
    longer = small_spec(family, instances={"train": 13, "validation": 3})
    for category in range(5):
        in_train, in_validation = (render(each, table, category, 12) for each in (longer, small_spec(family)))
        assert (in_train != in_validation).any()


def test_another_seed_gives_other_images(family: str, baked: Path, tmp_path: Path) -> None:
    bake(small_spec(family, seed=8), tmp_path / "out", workers=1)
    mine, other = all_members(baked), all_members(tmp_path / "out")
    assert mine.keys() == other.keys()
    assert not any(mine[name] == other[name] for name in mine if name.endswith(".png"))


# The categories


def test_a_table_that_is_given_is_used(spec: Spec, baked: Path, other_table: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bake(spec, out, table=other_table, workers=1)
    assert pq.read_table(out / "categories.parquet").equals(other_table.slice(0, 5))
    image = render(spec, other_table, 4, 14)
    np.testing.assert_array_equal(image, pixels(all_members(out)["000004_000014.png"]))
    assert snapshot(out)["train-000000.tar"] != snapshot(baked)["train-000000.tar"]
    (out / "train-000000.tar").unlink()
    whole = snapshot(out)
    bake(spec, out, workers=1)
    assert whole.items() < snapshot(out).items(), "without the table, the directory's own one goes on"
    assert not verify(out, workers=1).problems


def test_a_given_table_that_the_spec_would_sample_makes_the_same_bytes(spec: Spec, baked: Path, tmp_path: Path) -> None:
    bake(spec, tmp_path / "out", table=sample_categories(spec).table, workers=1)
    assert snapshot(tmp_path / "out") == snapshot(baked)


def test_another_table_is_refused_on_resuming(copy: Directory, other_table: pa.Table, baked: Path) -> None:
    with pytest.raises(InputError, match="holds another dataset: the categories table is another one; name another"):
        bake(copy.spec, copy.path, table=other_table, workers=1)
    assert snapshot(copy.path) == snapshot(baked)


def test_a_bad_window_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--shards"):
        bake(small_spec("rcdb"), tmp_path / "out", workers=1, window="12:13")
    assert not (tmp_path / "out").exists()


def test_a_baked_spec_says_what_baked_it(baked: Path) -> None:
    held = yaml.safe_load((baked / "spec.yaml").read_text())["baked"]
    assert set(held) == {"fdsl", "format", "categories_sha256", "hash", "made_with"}
    assert held["made_with"]["numba"] == numba.__version__
    assert held["made_with"]["platform"] == f"{platform.system()} {platform.machine()}"
    assert held["categories_sha256"] == table_sha256(pq.read_table(baked / "categories.parquet"))


def test_samples_have_a_row_and_a_type_for_everything_drawn(baked: Path, spec: Spec) -> None:
    for path in (baked / "samples").iterdir():
        schema = pq.read_schema(path)
        assert schema.names == ["key", "category", "instance", *spec.rules.DRAWN_SCHEMA.names]
        assert [schema.field(field.name).type for field in spec.rules.DRAWN_SCHEMA] == spec.rules.DRAWN_SCHEMA.types
