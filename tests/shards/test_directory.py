"""Directories and their files: published whole, owned by one dataset, and never written over another's."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from shards import InputError, Spec, bake, sample_categories
from shards.categories import table_sha256
from shards.directory import Directory, create_directory, published, write
from tests.shards.conftest import small_mapping, small_spec, snapshot
from tests.shards.test_spec import changed, leaves, others


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
