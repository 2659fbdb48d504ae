"""Verifying: an edited spec, edited categories, and what is no dataset at all, are told in one line."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
import yaml

from shards import InputError, verify
from shards.directory import Directory
from tests.shards.conftest import small_mapping
from tests.shards.harm import damage


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
