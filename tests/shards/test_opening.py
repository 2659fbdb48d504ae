"""Opening a dataset without baking it: the same images as its shards, and cached categories."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import yaml

import fdsl
from fdsl import InputError, Spec, search_categories
from fdsl.dataset.plan import plan_shards
from shards import opening
from shards.files import write_file
from shards.layout import SPEC, tar_file
from tests.shards.conftest import members, small_mapping, small_spec


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of cached categories, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fdsl"


@pytest.fixture
def n_searches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Spec]]:
    """The specs that were searched, in order."""
    searched: list[Spec] = []

    def counted(spec: Spec, **options: Any) -> Any:
        searched.append(spec)
        return search_categories(spec, **options)

    monkeypatch.setattr(opening, "search_categories", counted)
    return searched


def written(folder: Path, family: str, **changes: Any) -> Path:
    """Write a small spec's file."""
    path = folder / f"{family}.yaml"
    path.write_text(yaml.safe_dump(small_mapping(family, **changes)))
    return path


@pytest.mark.parametrize("split", ["train", "validation"])
def test_items_are_the_samples_of_the_shards(split: str, baked: Path, tmp_path: Path, family: str) -> None:
    """Pixels, labels, keys and order, from the directory, from its spec and from the formula alone."""
    spec = small_spec(family)
    samples: dict[str, bytes] = {}
    for shard in plan_shards(spec, split):
        samples |= members(baked / tar_file(shard))
    keys = [name[:-4] for name in samples if name.endswith(".png")]
    for source in (baked, str(baked), baked / SPEC, written(tmp_path, family), spec):
        live = fdsl.open(source, split)
        assert [live.key(k) for k in range(len(live))] == keys
        for key, (image, label) in zip(keys, live.__getitems__(range(len(live))), strict=True):
            decoded = cv2.imdecode(np.frombuffer(samples[f"{key}.png"], dtype=np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(image, decoded)
            assert str(label).encode() == samples[f"{key}.cls"]


def test_preset_is_opened_by_name() -> None:
    live = fdsl.open("quickstart-rcdb", split="validation", epoch=2, targets=["perlin"], views=2)
    assert (len(live), live.split, live.epoch, live.targets, live.views) == (500, "validation", 2, ("perlin",), 2)
    assert live[3][0].shape == (2, 512, 512)


def test_search_is_done_once(family: str, cache: Path, n_searches: list[Spec]) -> None:
    spec = small_spec(family)
    first = fdsl.open(spec)
    again = fdsl.open(spec.replace(name="other", instances={"train": 7, "validation": 0}))
    assert n_searches == [spec]
    assert again.dataset.table.equals(first.dataset.table)
    assert len(list(cache.iterdir())) == 1
    for changes in ({"seed": 8}, {"categories": 6}):
        fdsl.open(spec.replace(**changes))
    assert len(n_searches) == len(list(cache.iterdir())) == 3


def test_damaged_cache_is_searched_again(family: str, cache: Path, n_searches: list[Spec]) -> None:
    spec = small_spec(family)
    table = fdsl.open(spec).dataset.table
    (path,) = cache.iterdir()
    content = path.read_bytes()
    for damaged in (content[:-9], b"", content.replace(b"PAR1", b"PAR2")):
        path.write_bytes(damaged)
        assert fdsl.open(spec).dataset.table.equals(table)
        assert path.read_bytes() == content
    assert len(n_searches) == 4


def test_cache_that_cannot_be_written_is_not_used(cache: Path, n_searches: list[Spec]) -> None:
    write_file(cache, b"a file in its place")
    for _ in range(2):
        assert len(fdsl.open(small_spec("rcdb"))) == 60
    assert len(n_searches) == 2
    assert cache.read_bytes() == b"a file in its place"


def test_user_without_home_has_no_cache(monkeypatch: pytest.MonkeyPatch, n_searches: list[Spec]) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setattr(Path, "home", homeless)
    for _ in range(2):
        assert len(fdsl.open(small_spec("rcdb"))) == 60
    assert len(n_searches) == 2


def test_given_categories_are_used(spec: Spec, other_table: pa.Table, baked: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    file.write_bytes(opening.parquet_bytes(other_table))
    for source, categories in ((spec, other_table), (spec, file), (baked, str(file))):
        table = fdsl.open(source, categories=categories).dataset.table
        assert table.equals(other_table.slice(0, 5))


def test_directory_of_an_older_format_is_refused(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parents[1] / "data" / "baked-older.tar.xz") as archive:
        # Python before 3.11.4 has no filters
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    for spec in tmp_path.rglob(SPEC):
        with pytest.raises(
            InputError, match=r"has an older format, which cannot be rendered; open its preset or YAML$"
        ):
            fdsl.open(spec.parent)


@pytest.mark.parametrize("source", ["rcdb-1", "nothing.yaml", None, 7, io.StringIO()])
def test_unknown_source_is_refused(source: Any) -> None:
    with pytest.raises(InputError, match=r"^`spec` \(=.*\) "):
        fdsl.open(source)
