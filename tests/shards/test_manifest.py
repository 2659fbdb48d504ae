"""spec.yaml of a baked directory: what it holds, and what an edit is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fdsl import Dataset, InputError, Spec, search_categories
from fdsl.dataset.categories import table_sha256
from fdsl.dataset.spec import FORMAT
from fdsl.version import VERSION, made_with
from shards.manifest import manifest_yaml, read_manifest
from shards.stores.folder import Folder
from tests.shards.conftest import small_mapping

Edit = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def dataset(spec: Spec) -> Dataset:
    return Dataset(spec, search_categories(spec).table)


@pytest.fixture
def path(dataset: Dataset, tmp_path: Path) -> Path:
    """spec.yaml in a folder that holds nothing else."""
    path = tmp_path / "spec.yaml"
    path.write_bytes(manifest_yaml(dataset))
    return path


def test_manifest_is_the_spec_and_its_identity(dataset: Dataset, path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content.pop("baked") == {
        "fdsl": VERSION,
        "format": FORMAT,
        "categories_sha256": table_sha256(dataset.table),
        "hash": dataset.hash,
        "made_with": made_with(),
    }
    assert content == dataset.spec.to_mapping()


def test_round_trip(dataset: Dataset, path: Path) -> None:
    manifest = read_manifest(Folder(path.parent))
    assert (manifest.spec, manifest.hash) == (dataset.spec, dataset.hash)
    assert manifest.categories_sha256 == dataset.categories_sha256
    assert manifest.made_with == made_with()
    assert manifest.other_versions() is None


def test_other_versions_are_not_an_edit(dataset: Dataset, path: Path) -> None:
    path.write_text(path.read_text().replace("numpy: ", "numpy: 0.1."))
    manifest = read_manifest(Folder(path.parent))
    assert manifest.hash == dataset.hash
    differs = manifest.other_versions()
    assert differs is not None
    assert differs.startswith('`made_with.numpy` is "0.1.')


def edited_spec(**changes: Any) -> Edit:
    return lambda content: yaml.safe_dump({**yaml.safe_load(content), **changes}, sort_keys=False).encode()


def edited_baked(**changes: Any) -> Edit:
    def edit(content: bytes) -> bytes:
        mapping = yaml.safe_load(content)
        return yaml.safe_dump({**mapping, "baked": {**mapping["baked"], **changes}}).encode()

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited_spec(seed=8), "was edited: its hash is"),
        (edited_spec(name="mine"), "was edited: its hash is"),
        (edited_spec(categories="many"), "`categories` (='many') must be a whole number"),
        (edited_spec(colour="red"), "`colour` (='red') is not a key of the spec"),
        (edited_spec(baked=None), "lacks the key `baked`"),
        (edited_spec(baked={}), "lacks the key `baked`"),
        (edited_baked(hash="0" * 64), "was edited: its hash is 0000"),
        (edited_baked(hash=None), "was edited: its hash is None"),
        (edited_baked(categories_sha256="0" * 64), "was edited: its hash is"),
        (edited_baked(categories_sha256=7), "lacks the key `baked`"),
        (edited_baked(format=3), "has format 3 of fdsl"),
        (lambda content: b"- a list", "lacks the key `baked`"),
        (lambda content: b"", "lacks the key `baked`"),
        (lambda content: content + b"seed: 7\n", "duplicate key `seed`"),
        (lambda content: b"name: [", "is not YAML"),
        (lambda content: b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_edited_manifest_is_refused(edit: Edit, message: str, path: Path) -> None:
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(InputError) as error:
        read_manifest(Folder(path.parent))
    assert message in str(error.value)
    assert str(path.parent) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_licence_may_be_edited_or_missing(dataset: Dataset, path: Path) -> None:
    """Directories from before there was a licence stay valid."""
    for changes, license in (({"license": "MIT"}, "MIT"), ({}, "CC0-1.0")):
        content = yaml.safe_load(path.read_text())
        del content["license"]
        path.write_text(yaml.safe_dump({**content, **changes}))
        manifest = read_manifest(Folder(path.parent))
        assert (manifest.hash, manifest.spec.license) == (dataset.hash, license)
        path.write_bytes(manifest_yaml(dataset))


def test_reordered_manifest_is_the_same(dataset: Dataset, path: Path) -> None:
    path.write_text("# a comment\n" + yaml.safe_dump(yaml.safe_load(path.read_text()), sort_keys=True))
    assert read_manifest(Folder(path.parent)).hash == dataset.hash


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((content, r"holds no spec\.yaml: not a baked dataset") for content in ("missing", "file", "empty")),
        ("receipt", r"has lost its spec\.yaml; restore it"),
        ("plain spec", "lacks the key `baked`"),
    ],
)
def test_folder_without_manifest_is_refused(content: str, message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if content == "file":
        out.write_text("precious")
    elif content != "missing":
        out.mkdir()
    if content == "receipt":
        (out / "receipts").mkdir()
        (out / "receipts" / "train-000000.json").write_text("{}")
    if content == "plain spec":
        (out / "spec.yaml").write_text(yaml.safe_dump(small_mapping("rcdb")))
    with pytest.raises(InputError, match=message) as error:
        read_manifest(Folder(out))
    assert str(out) in str(error.value)
