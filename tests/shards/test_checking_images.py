"""Checking: images that are rendered again and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numba
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdsl import Dataset, Problem, verify
from fdsl.dataset.plan import Shard
from shards.problems import Kind
from tests.shards.conftest import NAME, SERIAL
from tests.shards.disk import OnDisk
from tests.shards.harm import problems, replace_image, reseal_all, the_problem


def invert_corner(image: Any) -> Any:
    """Change three pixels."""
    image[0, :3] = 255 - image[0, :3]
    return image


@pytest.mark.parametrize(("n_requested", "n_rerendered"), [(0, 0), (40, 40), (1000, 75)])
def test_rerendered_images_are_equal(n_requested: int, n_rerendered: int, baked: Path) -> None:
    result = verify(baked, executor=SERIAL, rerender=n_requested, seed=3)
    assert (result.problems, result.n_rerendered) == ((), n_rerendered)


def test_seed_selects_images_of_all_shards(baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selected: list[tuple[int, int]] = []
    images = Dataset.images

    def spy(dataset: Dataset, names: Iterable[tuple[int, int]]) -> Iterator[Any]:
        selected.extend(names)
        return images(dataset, names)

    monkeypatch.setattr(Dataset, "images", spy)
    verify(baked, executor=SERIAL, rerender=75)
    assert sorted(selected) == [(category, instance) for category in range(5) for instance in range(15)]
    selections = []
    for seed in (1, 1, 2):
        selected.clear()
        verify(baked, executor=SERIAL, rerender=20, seed=seed)
        assert len(set(selected)) == len(selected) == 20
        selections.append(set(selected))
    assert selections[0] == selections[1] != selections[2]


def test_edited_pixels_are_found(copy: OnDisk, shard: Shard) -> None:
    key = replace_image(copy, shard, 2, invert_corner)
    assert problems(copy) == ()
    detail = (
        f"{key}.png is not what the spec renders here (3 of 4,096 pixels differ);"
        " edited, or this machine computes differently"
    )
    assert problems(copy, rerender=75) == (Problem(Kind.PIXELS, f"{NAME}.tar", detail),)


def test_other_versions_are_named_as_cause(copy: OnDisk, shard: Shard) -> None:
    path = copy.path / "spec.yaml"
    path.write_text(path.read_text().replace("numba: ", "numba: 0.1."))
    assert problems(copy, rerender=75) == ()
    replace_image(copy, shard, 0, invert_corner)
    problem = the_problem(copy, rerender=75)
    versions = f'"0.1.{numba.__version__}" there and "{numba.__version__}" here'
    assert problem.kind == Kind.PIXELS
    assert problem.detail.endswith(f"; it was baked with other versions: `made_with.numba` is {versions}")


def test_edited_image_parameters_are_found(copy: OnDisk, shard: Shard) -> None:
    path = copy.samples(shard)
    table = pq.read_table(path)
    name = table.column_names[-1]
    values = [value + 1.0 for value in table[name].to_pylist()]
    pq.write_table(table.set_column(len(table.column_names) - 1, name, pa.array(values)), path)
    reseal_all(copy, shard)
    assert problems(copy) == ()
    problem = the_problem(copy, rerender=75)
    assert (problem.kind, problem.path) == (Kind.SHARD, f"samples/{NAME}.parquet")
    assert problem.detail.endswith("is not what the spec draws for this image")
