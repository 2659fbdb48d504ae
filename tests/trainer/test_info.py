"""`_info.json`: its rules, and the URLs of files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.conftest import edit_info
from trainer.errors import InputError
from trainer.info import file_url, read_split


def split(**changes: object) -> dict[str, object]:
    return {"train": {"filenames": ["a.tar"], "shard_lengths": [3], "num_samples": 3, **changes}}


MISTAKES: dict[str, Callable[[Path], object]] = {
    "folder train; is its bake complete? Or choose another by --train-split or --val-split, such as --val-split train": (
        lambda folder: (folder / "_info.json").unlink()
    ),
    "Invalid JSON": lambda folder: (folder / "_info.json").write_text("{"),
    "`splits` (={}): Field required": lambda folder: (folder / "_info.json").write_text("{}"),
    "has no split 'train'; it has none": lambda folder: edit_info(folder, splits={}),
    "has no split 'train'; it has test: choose another by --train-split or --val-split, such as --val-split test": (
        lambda folder: edit_info(folder, splits={"test": split()["train"]})
    ),
    "`filenames` must differ from each other": lambda folder: edit_info(
        folder, splits=split(filenames=["a.tar", "a.tar"], shard_lengths=[1, 2])
    ),
    "`splits.train.shard_lengths` (={'filenames': []}): Field required": lambda folder: edit_info(
        folder, splits={"train": {"filenames": []}}
    ),
    "`num_samples` (=4) must be the sum of `shard_lengths`": lambda folder: edit_info(
        folder, splits=split(num_samples=4)
    ),
    "must each have one value per file name": lambda folder: edit_info(folder, splits=split(shard_bytes=[1, 2])),
    "`splits.train.shard_sha256.0` (='x'): String should match": lambda folder: edit_info(
        folder, splits=split(shard_sha256=["x"])
    ),
    "`splits.train.num_samples` (=0): Input should be greater than 0": lambda folder: edit_info(
        folder, splits=split(shard_lengths=[0], num_samples=0)
    ),
    "`splits.train.num_samples` (='3'): Input should be a valid integer": lambda folder: edit_info(
        folder, splits=split(num_samples="3")
    ),
    "has no `num_classes`; give --classes": lambda folder: edit_info(folder, num_classes=0),
}


@pytest.mark.parametrize("rule", MISTAKES)
def test_a_mistake_is_one_line(rule: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    MISTAKES[rule](folder)
    with pytest.raises(InputError) as caught:
        read_split(str(folder), "train")
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


def test_timms_own_keys_are_enough(tmp_path: Path) -> None:
    edit = {"splits": {"train": {"name": "train", **split()["train"], "alt_label": "x"}}}  # type: ignore[dict-item]
    (tmp_path / "_info.json").write_text("{}")
    edit_info(tmp_path, **edit)
    one = read_split(str(tmp_path), "train", 7)
    assert (one.n_classes, one.filenames, one.shard_bytes, one.shard_sha256) == (7, ["a.tar"], [], [])
    edit_info(tmp_path, note="another dataset")
    assert read_split(str(tmp_path), "train", 7).dataset != one.dataset


def test_places_become_paths_and_urls() -> None:
    name = "a b.tar"
    assert file_url("data/x", name) == "data/x/a b.tar"
    assert file_url("s3://bucket/x/", name) == "pipe:aws s3 cp --only-show-errors 's3://bucket/x/a b.tar' -"
    assert file_url("https://host/x", name).startswith("pipe:curl ")
    assert file_url("https://host/x", name).endswith(" https://host/x/a%20b.tar")
    assert file_url("gs://x", name) == "gs://x/a b.tar"
    assert file_url("pipe:ssh host cat x/{}", name) == "pipe:ssh host cat x/'a b.tar'"
    assert file_url("https://host/x;y", name).endswith(" 'https://host/x;y/a%20b.tar'")
    assert file_url("http", name) == "http/a b.tar"
    with pytest.raises(InputError, match="`pipe:echo x`: Invalid JSON"):
        read_split("pipe:echo x", "train")
    with pytest.raises(InputError, match=r"`nowhere://x/_info\.json` cannot be read"):
        read_split("nowhere://x", "train")
