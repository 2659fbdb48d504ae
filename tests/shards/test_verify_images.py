"""Verifying: images that are rendered again, and images that look odd."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from shards import verify
from shards.directory import Directory
from shards.plan import Shard
from shards.png import encode
from tests.shards.conftest import NAME, run_fdsl, shards_of
from tests.shards.harm import members, pack, problems, reseal

CONTENT = importlib.import_module("shards.content")


def test_the_images_chosen_are_rendered_again_and_equal(baked: Path) -> None:
    found = verify(baked, workers=1, rerender=40, seed=3)
    assert (found.problems, found.rerendered, found.seed) == ((), 40, 3)
    assert verify(baked, workers=1, rerender=1000).rerendered == 75


def test_the_images_are_chosen_by_the_seed_from_all_shards(baked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[tuple[int, int]] = []
    render_again = CONTENT.render_again

    def spy(directory: Directory, category: int, instance: int) -> Any:
        chosen.append((category, instance))
        return render_again(directory, category, instance)

    monkeypatch.setattr(CONTENT, "render_again", spy)
    verify(baked, workers=1, rerender=75)
    assert set(chosen) == {(category, instance) for category in range(5) for instance in range(15)}
    sets = []
    for seed in (1, 1, 2):
        chosen.clear()
        verify(baked, workers=1, rerender=20, seed=seed)
        assert len(set(chosen)) == 20
        sets.append(set(chosen))
    assert sets[0] == sets[1] != sets[2]


def invert(directory: Directory, shard: Shard, k: int) -> str:
    """Put another image in the place of one, vouch for it, and return the name."""
    files = members(directory.tar(shard))
    name, payload = files[2 * k]
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    image = image.astype(np.uint8)
    image[0, :3] = 255 - image[0, :3]
    files[2 * k] = name, encode(image, directory.spec.rules.BIT_DEPTH)
    pack(directory.tar(shard), files)
    reseal(directory, shard)
    return name


def test_an_image_that_the_spec_does_not_render_is_found_and_named(copy: Directory, shard: Shard) -> None:
    name = invert(copy, shard, 2)
    assert problems(copy) == ()
    found = verify(copy.path, workers=2, rerender=75)
    assert found.problems == (
        f"{NAME}.tar: {name} is not what the spec renders here (3 of 4,096 pixels differ);"
        " it was edited after the bake, or this machine computes otherwise",
    )
    assert found.damaged == (shard,)


def test_other_versions_that_render_otherwise_are_named(copy: Directory, shard: Shard) -> None:
    path = copy.path / "spec.yaml"
    path.write_text(path.read_text().replace("numba: ", "numba: 0.1."))
    assert verify(copy.path, workers=1, rerender=75).problems == ()
    invert(copy, shard, 0)
    (problem,) = verify(copy.path, workers=1, rerender=75).problems
    there = f'"0.1.{numba.__version__}" there and "{numba.__version__}" here'
    assert problem.endswith(f"; it was baked with other versions: `made_with.numba` is {there}")


def test_a_row_that_is_not_what_is_drawn_is_found(copy: Directory, shard: Shard) -> None:
    path = copy.samples(shard)
    table = pq.read_table(path)
    name = table.column_names[-1]
    values = [value + 1.0 for value in table[name].to_pylist()]
    pq.write_table(table.set_column(len(table.column_names) - 1, name, pa.array(values)), path)
    reseal(copy, shard)
    assert problems(copy) == ()
    (problem,) = verify(copy.path, workers=1, rerender=75).problems
    assert problem.startswith(f"samples/{NAME}.parquet: has another row for ")


def replace(directory: Directory, shard: Shard, k: int, image: Any) -> str:
    """Put an image in the place of one, vouch for it, and return its key."""
    files = members(directory.tar(shard))
    files[2 * k] = files[2 * k][0], encode(image, directory.spec.rules.BIT_DEPTH)
    pack(directory.tar(shard), files)
    reseal(directory, shard)
    return files[2 * k][0].removesuffix(".png")


@pytest.mark.parametrize("what", ["empty", "full"])
def test_empty_and_full_images_are_told_and_not_wrong(what: str, copy: Directory, shard: Shard) -> None:
    background = copy.spec.rules.BACKGROUND
    assert verify(copy.path, workers=1).notes == ()
    blank = np.full((64, 64), background if what == "empty" else 255 - background, dtype=np.uint8)
    key = replace(copy, shard, 1, blank)
    found = verify(copy.path, workers=1)
    why = "nothing is drawn" if what == "empty" else "no background is left"
    assert found.problems == ()
    assert found.notes == (f"1 of the images are {what}: {why}: {key}",)


def test_images_that_are_equal_are_told_wherever_they_stand(copy: Directory, shard: Shard) -> None:
    checks = np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255
    keys = [
        replace(copy, each, k, checks)
        for each, k in ((shard, 1), (shard, 4), (shards_of(copy)["validation-000001"], 0))
    ]
    found = verify(copy.path, workers=2)
    assert found.notes == (f"3 images are not the only ones of their kind: {' = '.join(keys)}",)
    assert found.problems == ()


def test_the_command_prints_the_seed_with_which_it_can_be_repeated(baked: Path) -> None:
    first = run_fdsl("verify", baked, "--rerender", "9")
    said = re.search(r"^rendered 9 images again, chosen by --seed (\d+)$", first.stdout, re.MULTILINE)
    assert said is not None
    again = run_fdsl("verify", baked, "--rerender", "9", "--seed", said[1])
    assert again.stdout == first.stdout
    assert again.returncode == 0
