"""Directories: each belongs to one dataset, and foreign files are never overwritten."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fdsl import Dataset, InputError, Spec, bake, open_directory, search_categories
from fdsl.dataset.families import FAMILIES
from fdsl.primitives.validation import FamilyParams
from shards.claiming import categories_beside, claim_directory, stored_manifest
from shards.directory import Unseen
from shards.stores.folder import Folder
from tests.shards.conftest import SERIAL, small_mapping, small_spec, snapshot
from tests.shards.disk import OnDisk


def no_search(spec: Spec) -> pa.Table:
    raise AssertionError("searched categories that are known")


@pytest.fixture
def dataset(spec: Spec) -> Dataset:
    return Dataset(spec, search_categories(spec).table)


# A directory and its dataset


def test_pickled_directory_is_opened_again(copy: OnDisk) -> None:
    content = pickle.dumps(copy)
    assert len(content) < 1000
    other = pickle.loads(content)
    assert (other.path, other.spec, other.dataset.hash) == (copy.path, copy.spec, copy.dataset.hash)
    assert pickle.loads(content) is other


def test_worker_refuses_a_replaced_dataset(copy: OnDisk, tmp_path: Path) -> None:
    content = pickle.dumps(copy)
    copy.path.rename(tmp_path / "elsewhere")
    claim_directory(
        Folder(copy.path), small_spec(copy.spec.family, seed=8), None, lambda spec: search_categories(spec).table
    )
    with pytest.raises(Unseen, match="now holds another dataset: it was replaced while in use"):
        pickle.loads(content)


def test_working_directory_does_not_matter(copy: OnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.path.parent)
    directory = open_directory(Path(copy.path.name))
    monkeypatch.chdir("/")
    assert directory.path == copy.path
    assert pickle.loads(pickle.dumps(directory)).path == copy.path


def test_edited_categories_are_refused(copy: OnDisk) -> None:
    path = copy.path / "categories.parquet"
    pq.write_table(copy.dataset.table.slice(0, 4), path)
    with pytest.raises(InputError, match=f"`{path}` has 4 rows; .*`fdsl repair {copy.path}` restores it"):
        open_directory(copy.path)
    path.unlink()
    with pytest.raises(InputError, match=f"`{path}` is missing; `fdsl repair {copy.path}` restores it"):
        open_directory(copy.path)


# Claiming a directory


def test_directory_belongs_to_the_first_spec(dataset: Dataset, tmp_path: Path) -> None:
    directory = claim_directory(Folder(tmp_path), dataset.spec, dataset, no_search)
    before = snapshot(tmp_path)
    other = Dataset(dataset.spec.replace(name="other"), dataset.table)
    with pytest.raises(InputError, match="holds another dataset: `name`"):
        claim_directory(Folder(tmp_path), other.spec, other, no_search)
    again = claim_directory(Folder(tmp_path), dataset.spec, None, no_search)
    assert (again.path, again.dataset.hash) == (directory.path, directory.dataset.hash) == (tmp_path, dataset.hash)
    assert snapshot(tmp_path) == before


def test_lost_race_for_a_directory_is_refused(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process claims the directory after this one has looked at it."""
    other = dataset.spec.replace(name="other")

    def search_slowly(spec: Spec) -> pa.Table:
        claim_directory(Folder(tmp_path), dataset.spec, dataset, no_search)
        return dataset.table

    with pytest.raises(InputError, match="holds another dataset: `name`"):
        claim_directory(Folder(tmp_path), other, None, search_slowly)
    assert open_directory(tmp_path).dataset.hash == dataset.hash


def test_dataset_may_be_claimed_twice_at_once(dataset: Dataset, tmp_path: Path) -> None:
    def search_slowly(spec: Spec) -> pa.Table:
        claim_directory(Folder(tmp_path), dataset.spec, dataset, no_search)
        return dataset.table

    assert claim_directory(Folder(tmp_path), dataset.spec, None, search_slowly).dataset.hash == dataset.hash


def test_lost_categories_are_searched_again(dataset: Dataset, tmp_path: Path) -> None:
    claim_directory(Folder(tmp_path), dataset.spec, dataset, no_search)
    before = snapshot(tmp_path)
    (tmp_path / "categories.parquet").unlink()
    claim_directory(Folder(tmp_path), dataset.spec, None, lambda spec: dataset.table)
    assert snapshot(tmp_path) == before


def test_lost_categories_of_another_search_are_refused(spec: Spec, other_table: pa.Table, tmp_path: Path) -> None:
    given = Dataset(spec, other_table)
    claim_directory(Folder(tmp_path), spec, given, no_search)
    (tmp_path / "categories.parquet").unlink()
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="is missing or damaged, and a search finds other categories; pass"):
        claim_directory(Folder(tmp_path), spec, None, lambda spec: search_categories(spec).table)
    assert snapshot(tmp_path) == before


OTHER_VALUES: dict[str, Any] = {
    "name": "another",
    "seed": 8,
    "categories": 6,
    "instances": {"train": 12, "validation": 4},
    "image": {"size": 65},
    "shards": {"samples": 7, "order": "by-category"},
}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("name", '`name` is "{spec.name}" there and "another" here'),
        ("seed", "`seed` is 7 there and 8 here"),
        ("categories", "`categories` is 5 there and 6 here"),
        ("instances", "`instances.validation` is 3 there and 4 here"),
        ("image", "`image.size` is 64 there and 65 here"),
        ("shards", '`shards.order` is "shuffled" there and "by-category" here'),
    ],
)
def test_other_spec_is_refused_by_field(path: str, line: str, baked: Path, spec: Spec) -> None:
    with pytest.raises(InputError) as error:
        bake(spec.replace(**{path: OTHER_VALUES[path]}), baked, executor=SERIAL)
    differs = line.format(spec=spec)
    assert str(error.value) == f"`out` (={baked}) holds another dataset: {differs}; name another directory"


def test_other_licence_is_refused_and_may_be_edited(copy: OnDisk, spec: Spec) -> None:
    with pytest.raises(InputError) as error:
        bake(spec.replace(license="MIT"), copy.path, executor=SERIAL)
    path = copy.path / "spec.yaml"
    assert str(error.value) == f"`license` (=MIT) is CC0-1.0 in {path}; edit it there, as no image depends on it"
    path.write_text(path.read_text().replace("license: CC0-1.0", "license: MIT"))
    baked = bake(spec.replace(license="MIT"), copy.path, executor=SERIAL)
    assert (baked.n_shards, baked.n_missing) == (0, 0)
    assert "The licence of the images is MIT." in (copy.path / "README.md").read_text()


def test_other_params_are_refused(baked: Path, spec: Spec) -> None:
    published: FamilyParams = spec.family_module.Params()
    if published == spec.params:
        pytest.skip("the family is tested with its published parameters")
    with pytest.raises(InputError, match=r"holds another dataset: `params\."):
        bake(spec.replace(params={}), baked, executor=SERIAL)


def test_other_family_is_refused(baked: Path, spec: Spec) -> None:
    other = next(name for name in FAMILIES if name != spec.family)
    with pytest.raises(InputError, match=f'`family` is "{spec.family}" there and "{other}" here'):
        bake(small_spec(other, name=spec.name), baked, executor=SERIAL)


def test_other_categories_are_refused(baked: Path, spec: Spec, other_table: pa.Table) -> None:
    with pytest.raises(InputError, match="holds another dataset: the categories differ"):
        bake(spec, baked, categories=other_table, executor=SERIAL)


# Foreign files


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "train-000000.tar", "samples/mine.parquet", "spec.yaml", "README.md", "categories.parquet", ".git/x"],
)
def test_foreign_files_are_refused(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("services: {}\n")
    before = snapshot(out)
    with pytest.raises(InputError) as error:
        bake(small_spec("rcdb"), out, executor=SERIAL)
    assert str(out) in str(error.value)
    assert name.split("/")[0] in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert snapshot(out) == before


def test_plain_spec_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_mapping("rcdb")))
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="lacks the key `baked`"):
        bake(small_spec("rcdb"), tmp_path, executor=SERIAL)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("fits", [True, False])
def test_own_categories_table_is_not_overwritten(
    fits: bool, spec: Spec, dataset: Dataset, other_table: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(dataset.table if fits else other_table, tmp_path / "categories.parquet")
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r"holds other files \(categories\.parquet\) and no spec\.yaml"):
        bake(spec, tmp_path, executor=SERIAL)
    assert snapshot(tmp_path) == before


def test_leftovers_of_an_interrupted_start_are_accepted(dataset: Dataset, tmp_path: Path) -> None:
    for name in ("samples", "receipts"):
        (tmp_path / name).mkdir()
    (tmp_path / ".bake.lock").touch()
    (tmp_path / f".spec.yaml.{os.getpid()}@elsewhere.tmp").touch()
    assert claim_directory(Folder(tmp_path), dataset.spec, dataset, no_search).dataset is dataset


def test_file_as_directory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("precious")
    with pytest.raises(InputError, match=r"is a file; name a folder$"):
        bake(small_spec("rcdb"), file, executor=SERIAL)
    with pytest.raises(OSError, match="Not a directory"):
        bake(small_spec("rcdb"), file / "deeper", executor=SERIAL)
    assert file.read_text() == "precious"


@pytest.mark.parametrize("options", [{"split": "test"}, {"shards": "5"}, {"shards": 5}, {"shards": "9:99"}])
def test_wrong_part_makes_no_directory(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(options))}`"):
        bake(small_spec("rcdb"), tmp_path / "out", executor=SERIAL, **options)
    assert not list(tmp_path.iterdir())


# A baked spec.yaml as SPEC


def test_categories_beside_a_baked_spec(baked: Path, tmp_path: Path) -> None:
    table = categories_beside(baked / "spec.yaml")
    assert table is not None
    assert table.equals(open_directory(baked).dataset.table)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_mapping("rcdb")))
    assert categories_beside(tmp_path / "spec.yaml") is None
    assert categories_beside("rcdb-1k") is None
    assert categories_beside(tmp_path / "missing" / "spec.yaml") is None


def test_baked_spec_without_its_categories_is_refused(baked: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_bytes((baked / "spec.yaml").read_bytes())
    with pytest.raises(InputError, match=r"needs the categories beside it: .*or name the preset or YAML"):
        categories_beside(tmp_path / "spec.yaml")


def test_bake_that_begins_meanwhile_is_no_foreign_file(copy: OnDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes spec.yaml after this one has looked for it."""
    answers = iter([None, None])
    stat = Folder.stat
    shutil.rmtree(copy.path / "receipts")
    monkeypatch.setattr(Folder, "stat", lambda folder, name: next(answers, stat(folder, name)))
    manifest = stored_manifest(copy.store, copy.spec, copy.dataset)
    assert manifest is not None
    assert manifest.hash == copy.dataset.hash
