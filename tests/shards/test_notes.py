"""Notes on empty, full and duplicate images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fdsl import verify
from fdsl.dataset.plan import Shard, image_key, image_names
from shards.checking import Findings
from shards.members import Blank
from shards.notes import image_notes
from tests.shards.conftest import SERIAL, shards_of, small_spec
from tests.shards.disk import OnDisk
from tests.shards.harm import replace_image

CHECKS = np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255


def findings(*digests: int, full: Sequence[str] = ()) -> Findings:
    return Findings(7, [], Blank([], list(full)), np.array(digests, dtype=np.uint64))


def test_ordinary_images_have_no_notes(baked: Path) -> None:
    assert verify(baked, executor=SERIAL).notes == ()


@pytest.mark.parametrize(
    ("kind", "meaning"), [("empty", "empty: nothing is drawn"), ("full", "full: no background is left")]
)
def test_blank_image_is_a_note(kind: str, meaning: str, copy: OnDisk, shard: Shard) -> None:
    background = copy.spec.family_module.BACKGROUND
    grey = background if kind == "empty" else 255 - background
    key = replace_image(copy, shard, 1, lambda image: np.full_like(image, grey))
    result = verify(copy.path, executor=SERIAL)
    assert result.problems == ()
    assert result.notes == (f"1 image is {meaning}: {key}",)


def test_duplicates_in_different_shards_are_a_note(copy: OnDisk, shard: Shard) -> None:
    places = ((shard, 1), (shard, 4), (shards_of(copy)["validation-000001"], 0))
    keys = [replace_image(copy, shard, k, lambda image: CHECKS) for shard, k in places]
    result = verify(copy.path, executor=SERIAL)
    assert result.problems == ()
    assert result.notes == (f"3 images are exact duplicates of one another: {' = '.join(keys)}",)


def test_note_names_only_five_images() -> None:
    spec = small_spec("rcdb")
    lines = list(image_notes(spec, [], [findings(full=[f"key-{k}" for k in range(6)])]))
    assert lines == ["6 images are full: no background is left: key-0, key-1, key-2, key-3, key-4, ..."]


def test_groups_of_duplicates_share_a_line() -> None:
    spec = small_spec("rcdb")
    shard = Shard("train", 0, 0, 7)
    keys = [image_key(*name) for name in image_names(spec, shard)]
    lines = list(image_notes(spec, [shard], [findings(8, 1, 8, 2, 8, 1, 8)]))
    groups = f"{keys[0]} = {keys[2]} = {keys[4]}, {keys[1]} = {keys[5]}"
    assert lines == [f"6 images are exact duplicates of one another: {groups}"]


def test_broken_tar_has_fewer_digests() -> None:
    spec = small_spec("rcdb")
    shards = [Shard("train", 0, 0, 7), Shard("train", 1, 7, 14)]
    keys = [image_key(*image_names(spec, shard)[k]) for k, shard in enumerate(shards)]
    lines = list(image_notes(spec, shards, [findings(5), findings(6, 5)]))
    assert lines == [f"2 images are exact duplicates of one another: {keys[0]} = {keys[1]}"]
