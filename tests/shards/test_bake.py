"""Baking: the same bytes however it was done, images that their rows give again, and nothing good ever lost."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import importlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from shards import InputError, Spec, bake, render, sample_categories, verify
from shards.bake import stream_of
from shards.categories import check_table, read_table, table_sha256
from shards.directory import Directory, Receipt, create_directory, open_directory, published, write
from shards.index import card, few_shards_warning
from shards.plan import plan_shards
from shards.spec import parse_spec
from tests.shards.conftest import FDSL, dead_pid, shards_of, small_mapping, small_spec, snapshot
from tests.shards.test_spec import changed, leaves, others

BAKE = importlib.import_module("shards.bake")
INDEX_FILES = {"README.md", "_info.json", "shards.parquet"}


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


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


@pytest.mark.parametrize("begun", ["folder", "folders", "categories", "spec"])
def test_a_directory_that_was_only_begun_is_gone_on_with(begun: str, spec: Spec, baked: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if begun != "folder":
        for name in ("samples", "receipts"):
            (out / name).mkdir()
    if begun in ("categories", "spec"):
        shutil.copy(baked / "categories.parquet", out)
    if begun == "spec":
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
    slices: list[list[str]] = [["--shards", "6:12"], ["--shards", "0:9"]]
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
    assert sorted(status) == [0, 0, 1, 1], said
    assert status[:2] == status[2:]
    assert all(("holds another dataset: `name`" in line) == bool(code) for line, code in zip(said, status, strict=True))
    bake(specs[status.index(0)], tmp_path / "alone", workers=1)
    assert snapshot(out) == snapshot(tmp_path / "alone")


def test_a_table_of_the_other_family_is_not_rendered() -> None:
    table = sample_categories(small_spec("rcdb")).table
    with pytest.raises(InputError, match="holds categories of rcdb"):
        render(small_spec("exfractal"), table, 0, 0)


def test_a_directory_belongs_to_the_first_spec_in_it(tmp_path: Path) -> None:
    mine, theirs = (small_spec("exfractal", name=name) for name in ("mine", "theirs"))
    table = sample_categories(mine).table
    create_directory(tmp_path, theirs, table)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="holds another dataset: `name`"):
        create_directory(tmp_path, mine, table)
    assert create_directory(tmp_path, theirs, table) == Directory(tmp_path, theirs, table_sha256(table))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_without_links_a_file_is_published_all_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)
    write(tmp_path / "file", b"first", new=True)
    with pytest.raises(FileExistsError):
        write(tmp_path / "file", b"second", new=True)
    assert snapshot(tmp_path).keys() == {"file"}
    assert (tmp_path / "file").read_bytes() == b"first"


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


def test_two_processes_can_write_one_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with published(tmp_path / "file") as mine:
        mine.write(b"mi")
        mine.flush()
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(os, "getpid", lambda: 1)
            with published(tmp_path / "file") as theirs:
                theirs.write(b"theirs")
        assert (tmp_path / "file").read_bytes() == b"theirs"
        mine.write(b"ne")
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert set(snapshot(tmp_path)) == {"file"}


@pytest.mark.parametrize("wrote", [0, 1, 100])
def test_nothing_is_published_on_the_way_out_of_an_exception(wrote: int, tmp_path: Path) -> None:
    def interrupted() -> None:
        with published(tmp_path / "file") as file:
            file.write(bytes(wrote))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not snapshot(tmp_path)


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


def test_sampled_categories_do_not_depend_on_the_workers(family: str) -> None:
    params = {"points": 200} if family == "exfractal" else {}
    spec = small_spec(family, categories=400, params=params)
    alone = sample_categories(spec, 1)
    assert alone.table.num_rows == 400
    assert alone.tried == alone.table.column("attempt")[-1].as_py() + 1 >= 400
    for workers in (5, 2):
        assert sample_categories(spec, workers) == alone


def test_the_first_categories_of_more_are_those_of_fewer(spec: Spec) -> None:
    more = sample_categories(dataclasses.replace(spec, categories=9)).table
    assert more.slice(0, 5).equals(sample_categories(spec).table)


def test_categories_are_all_different() -> None:
    params = {"label": ["vertices", "contours"], "vertices": [3, 7], "contours": [1, 4]}
    table = sample_categories(small_spec("rcdb", categories=20, params=params)).table
    assert len({(row["vertices"], row["contours"]) for row in table.to_pylist()}) == 20


@pytest.fixture
def other_table(spec: Spec) -> pa.Table:
    """Categories that the spec would not sample itself: one more than it needs, of another seed."""
    return sample_categories(dataclasses.replace(spec, categories=6, seed=99)).table


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


def with_column(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def bad_tables(spec: Spec) -> dict[str, tuple[pa.Table, str]]:
    """What is wrong: a table and the words that the message must have."""
    table = sample_categories(spec).table
    other = "rcdb" if spec.family == "exfractal" else "exfractal"
    others_table = sample_categories(small_spec(other)).table
    column = {"exfractal": "probability", "rcdb": "gap"}[spec.family]
    values = table.column(column).to_pylist()
    nan = [float("nan")] * len(values[3]) if isinstance(values[3], list) else float("nan")
    return {
        "family": (others_table, f"holds categories of {other}; the spec's family is {spec.family}"),
        "family_unnamed": (others_table.replace_schema_metadata(None), "has no column `"),
        "column": (table.drop_columns([column]), f"has no column `{column}`; {spec.family} needs category, attempt"),
        "rows": (table.slice(0, 4), "has 4 rows; the spec needs `categories` = 5"),
        "type": (
            table.set_column(table.column_names.index(column), column, pa.array(list("abcde"))),
            f"does not fit {spec.family}'s columns",
        ),
        "gap": (with_column(table, "category", [0, 1, 3, 4, 5]), "`category` must count 0, 1, 2, ... without gaps"),
        "nan": (with_column(table, column, [*values[:3], nan, values[4]]), f"category 3: `{column}` (="),
        "null": (with_column(table, column, [*values[:2], None, *values[3:]]), "category 2: `"),
    }


@pytest.mark.parametrize("which", ["family", "family_unnamed", "column", "rows", "type", "gap", "nan", "null"])
def test_a_table_that_does_not_fit_is_refused_before_anything_is_made(which: str, spec: Spec, tmp_path: Path) -> None:
    table, words = bad_tables(spec)[which]
    file = tmp_path / "table.parquet"
    pq.write_table(table, file)
    with pytest.raises(InputError) as from_python:
        bake(spec, tmp_path / "out", table=table, workers=1)
    with pytest.raises(InputError) as from_file:
        read_table(spec, file)
    assert str(from_python.value).startswith("`the categories table`")
    assert str(from_file.value).startswith(f"`{file}`")
    for error in (from_python, from_file):
        assert words in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"category,attempt\n0,0\n", bytes(range(256))])
def test_a_table_that_is_no_parquet_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    file.write_bytes(content)
    with pytest.raises(InputError, match="is not a Parquet file that can be read") as error:
        read_table(small_spec("rcdb"), file)
    assert str(file) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_table_that_is_not_there_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; make it with `fdsl sample"):
        read_table(small_spec("rcdb"), tmp_path / "none.parquet")


def test_a_table_from_elsewhere_is_taken_by_its_columns(spec: Spec) -> None:
    table = sample_categories(spec).table
    elsewhere = table.select(table.column_names[::-1]).append_column("note", pa.array(["x"] * 5))
    checked = check_table(spec, elsewhere.replace_schema_metadata(None), "it")
    assert table_sha256(checked) == table_sha256(table)


# What must not be overwritten


def test_another_dataset_is_refused_by_the_field_that_differs(spec: Spec, copy: Directory, baked: Path) -> None:
    for path, value in others(spec.family).items():
        other = changed(spec, path, value)
        there, here = (json.dumps(leaves(each.to_mapping())[path]) for each in (spec, other))
        with pytest.raises(InputError) as error:
            bake(other, copy.path, workers=1)
        assert str(error.value) == (
            f"`--out` (={copy.path}) holds another dataset: `{path}` is {there} there and {here} here;"
            " name another directory"
        )
    assert snapshot(copy.path) == snapshot(baked)


@pytest.mark.parametrize("foreign", ["notes.txt", "train-000000.tar", "samples/mine.parquet", "spec.yaml", "README.md"])
def test_a_foreign_directory_is_refused_and_left_alone(foreign: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / foreign).parent.mkdir(parents=True)
    (out / foreign).write_text("services: {}\n")
    before = snapshot(out)
    with pytest.raises(InputError) as error:
        bake(small_spec("rcdb"), out, workers=1)
    assert str(out) in str(error.value)
    assert foreign.split("/")[0] in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert snapshot(out) == before


def test_ones_own_spec_is_not_taken_for_a_baked_one(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_mapping("rcdb")))
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="lacks the key `baked`"):
        bake(small_spec("rcdb"), tmp_path, workers=1)
    assert snapshot(tmp_path) == before


def test_ones_own_categories_table_is_not_overwritten(spec: Spec, other_table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(other_table, tmp_path / "categories.parquet")
    before = snapshot(tmp_path)
    try:
        bake(spec, tmp_path, workers=1)
    except InputError:
        assert snapshot(tmp_path) == before
    else:
        assert pq.read_table(tmp_path / "categories.parquet").slice(0, 5).equals(other_table.slice(0, 5))


def test_a_file_as_the_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("precious")
    with pytest.raises(InputError, match=r"is a file; name a new or empty directory$"):
        bake(small_spec("rcdb"), file, workers=1)
    with pytest.raises(OSError, match="Not a directory"):
        bake(small_spec("rcdb"), file / "deeper", workers=1)
    assert file.read_text() == "precious"


def test_a_bad_window_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--shards"):
        bake(small_spec("rcdb"), tmp_path / "out", workers=1, window="12:13")
    assert not (tmp_path / "out").exists()


# The index


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


def test_a_baked_spec_says_what_baked_it(baked: Path) -> None:
    held = yaml.safe_load((baked / "spec.yaml").read_text())["baked"]
    assert set(held) == {"fdsl", "format", "categories_sha256", "hash"}
    assert held["categories_sha256"] == table_sha256(pq.read_table(baked / "categories.parquet"))


def test_samples_have_a_row_and_a_type_for_everything_drawn(baked: Path, spec: Spec) -> None:
    for path in (baked / "samples").iterdir():
        schema = pq.read_schema(path)
        assert schema.names == ["key", "category", "instance", *spec.rules.DRAWN_SCHEMA.names]
        assert [schema.field(field.name).type for field in spec.rules.DRAWN_SCHEMA] == spec.rules.DRAWN_SCHEMA.types
