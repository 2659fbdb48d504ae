"""Verifying: damaged categories are a problem; without a valid spec.yaml there is nothing to verify."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdsl import InputError, repair, verify
from shards.problems import Kind
from tests.shards.conftest import SERIAL
from tests.shards.disk import OnDisk
from tests.shards.harm import damage, problems, replace_with_fifo, the_problem


def change_attempts(path: Path) -> None:
    table = pq.read_table(path)
    attempts = [attempt + 1 for attempt in table["attempt"].to_pylist()]
    pq.write_table(table.set_column(1, table.schema.field("attempt"), pa.array(attempts, pa.int64())), path)


@pytest.mark.usefixtures("time_limit")
@pytest.mark.parametrize(
    ("edit", "detail"),
    [
        (change_attempts, "was edited: its hash is not the one in spec.yaml"),
        (lambda path: os.truncate(path, 1500), "is not a readable Parquet file"),
        (Path.unlink, "is missing"),
        (replace_with_fifo, "is not a regular file"),
    ],
    ids=["edited", "truncated", "missing", "fifo"],
)
def test_damaged_categories_are_the_only_problem(edit: Callable[[Path], None], detail: str, copy: OnDisk) -> None:
    edit(copy.path / "categories.parquet")
    (copy.path / "train-000000.tar").unlink()
    problem = the_problem(copy)
    assert (problem.kind, problem.path) == (Kind.CATEGORIES, "categories.parquet")
    assert detail in problem.detail
    assert "`fdsl repair " in problem.detail


def test_any_damage_of_categories_is_found_or_harmless(copy: OnDisk) -> None:
    path = copy.path / "categories.parquet"
    content, rng = path.read_bytes(), random.Random(0)
    n_found = 0
    for _ in range(60):
        damage(path, rng.randrange(len(content)), 1 << rng.randrange(8))
        result = problems(copy, shards="0:1")
        assert {problem.kind for problem in result} <= {Kind.CATEGORIES}
        n_found += len(result)
        path.write_bytes(content)
    assert n_found > 10
    assert not problems(copy)


@pytest.mark.parametrize("call", [verify, repair])
def test_edited_spec_is_an_error(call: Callable[..., object], copy: OnDisk) -> None:
    path = copy.path / "spec.yaml"
    path.write_text(path.read_text().replace("seed: 7", "seed: 8"))
    advice = r"restore it: `fdsl bake SPEC -o NEW --shards 0:1`"
    with pytest.raises(InputError, match=rf"`{path}` was edited: its hash is .*{advice}"):
        call(copy.path, executor=SERIAL)


@pytest.mark.parametrize("call", [verify, repair])
def test_empty_folder_is_no_dataset(call: Callable[..., object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no spec\.yaml: not a baked dataset"):
        call(tmp_path, executor=SERIAL)
    assert not list(tmp_path.iterdir())
