"""Samples on a disk: loaders, index, folders, damage."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainer.conftest import edit_info, picture, write_dataset, write_split
from trainer.batches import Batches
from trainer.data import Folder, Shards, loader
from trainer.errors import InputError
from trainer.info import read_split
from trainer.tars import LABEL, OFFSET, build_index, check_sizes


def as_it_is(pixels: np.ndarray) -> np.ndarray:
    return pixels.copy()


def opened(folder: Path, cache: Path, split: str = "train") -> Shards:
    cache.mkdir(exist_ok=True)
    entry = read_split(str(folder), split)
    return Shards(entry, build_index(entry, cache), as_it_is, seed=3)


@pytest.mark.parametrize("lengths", [[32, 32, 32, 32], [40, 40, 40], [40, 7, 23, 31, 19], [100], [1, 1, 1]])
@pytest.mark.parametrize("workers", [0, 3])
def test_loaders_give_every_sample_once(lengths: list[int], workers: int, tmp_path: Path) -> None:
    shards = opened(write_dataset(tmp_path / "data", lengths, [1]), tmp_path)
    expected = Counter(picture(i % 4, i) for i in range(shards.n))
    world = 2
    streams = [Batches(shards.n, 8, rank, world, seed=2) for rank in range(world)]
    loaders = [loader(shards, each, workers, pin=False) for each in streams]
    pixels = {np.asarray(Image.open(io.BytesIO(content))).tobytes(): content for content in expected}
    for _ in range(3):
        seen: Counter[bytes] = Counter()
        for each, images in zip(streams, loaders, strict=True):
            for step in range(each.steps):
                batch, labels = next(images)
                assert batch.dtype == torch.uint8
                for image, label in list(zip(batch, labels, strict=True))[: each.count(step)]:
                    content = pixels[image.numpy().tobytes()]
                    assert label == int(image[0].float().mean(dim=0).argmax()) * 4 // 32
                    seen[content] += 1
        assert seen == expected


def test_an_index_is_built_once(small: Path, tmp_path: Path) -> None:
    first = opened(small, tmp_path)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    index = opened(small, tmp_path).index
    assert isinstance(index, np.memmap)
    assert np.array_equal(index, first.index)
    assert index.shape == (120, 4)
    assert index[:, LABEL].tolist() == [i % 4 for i in range(120)]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.stat().st_mtime_ns == before


def test_a_changed_tar_is_indexed_again(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    opened(folder, tmp_path / "run")
    os.utime(folder / "train-000001.tar", (1, 1))
    opened(folder, tmp_path / "run")
    assert len(list((tmp_path / "run").iterdir())) == 2


@pytest.mark.parametrize("harm", ["cut", "zeros", "empty", "claim"])
def test_a_torn_index_is_written_again(harm: str, small: Path, tmp_path: Path) -> None:
    expected = np.array(opened(small, tmp_path).index)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    torn = {
        "cut": whole[:1000], "zeros": whole[:1000].ljust(len(whole), b"\0"), "empty": b"",
        "claim": whole.replace(b"(120, 4)", b"(9**9,4)"),
    }  # fmt: skip
    path.write_bytes(torn[harm])
    assert np.array_equal(opened(small, tmp_path).index, expected)
    assert path.read_bytes() == whole


def plain(folder: Path) -> None:
    """Remove sizes and hashes from _info.json."""
    lengths = {"train": [40, 7, 23, 31, 19]}
    split = {
        "filenames": [f"train-{k:06}.tar" for k in range(5)],
        "shard_lengths": lengths["train"],
        "num_samples": 120,
    }
    edit_info(folder, splits={"train": split})


def exchange(folder: Path, shard: int) -> None:
    """Replace a tar by another of the same size."""
    write_split(folder / "other", "train", [40, 7, 23, 31, 19], first=1_000)
    name = f"train-{shard:06}.tar"
    whole = (folder / "other" / name).read_bytes()
    shutil.rmtree(folder / "other")
    n_bytes = (folder / name).stat().st_size
    (folder / name).write_bytes(whole[:n_bytes].ljust(n_bytes, b"\0"))


def truncate(folder: Path) -> None:
    plain(folder)
    path = folder / "train-000002.tar"
    os.truncate(path, path.stat().st_size // 2 // 512 * 512)


def cut_between_members(folder: Path) -> None:
    plain(folder)
    index = opened(folder, folder / "index").index
    os.truncate(folder / "train-000002.tar", int(index[60, OFFSET]) - 512)


def replace(folder: Path, content: bytes) -> None:
    plain(folder)
    (folder / "train-000000.tar").write_bytes(content)


def grow(folder: Path) -> None:
    plain(folder)
    shutil.copy(folder / "train-000002.tar", folder / "train-000001.tar")


HARMS: dict[str, Callable[[Path], object]] = {
    r"train-000002\.tar` holds 11 samples": truncate,
    r"train-000002\.tar` holds 13 samples, _info\.json says 23": cut_between_members,
    r"train-000002\.tar` has [\d,]+ bytes, _info\.json says [\d,]+: it is truncated, or another": lambda folder: (
        os.truncate(folder / "train-000002.tar", 9728)
    ),
    r"train-000000\.tar` has the SHA-256 \w{64}, _info\.json says \w{64}: it is damaged": lambda folder: exchange(
        folder, 0
    ),
    r"train-000000\.tar` holds 0 samples": lambda folder: replace(folder, b""),
    r"train-000000\.tar`: no tar header at byte 0": lambda folder: replace(folder, b"x" * 2048),
    r"train-000001\.tar` holds 23 samples, _info\.json says 7": grow,
    "below 3, the number of classes": lambda folder: edit_info(folder, num_classes=3),
}


@pytest.mark.parametrize("rule", HARMS)
def test_damage_is_found_by_the_index(rule: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    HARMS[rule](folder)
    with pytest.raises(InputError, match=rule):
        opened(folder, tmp_path / "run")


def test_a_missing_tar_is_named(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    (folder / "train-000001.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-000001\.tar"):
        check_sizes(read_split(str(folder), "train"))


def test_directories_without_hashes_are_read(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    plain(folder)
    exchange(folder, 0)
    assert opened(folder, tmp_path / "run").n == 120


def test_images_depend_on_seed_visit_and_number(small: Path, tmp_path: Path) -> None:
    def jitter(pixels: np.ndarray) -> np.ndarray:
        return np.roll(pixels, np.random.randint(1, 31), axis=1)

    split = read_split(str(small), "train")
    index = build_index(split, tmp_path)
    shards, other = Shards(split, index, jitter, 3), Shards(split, index, jitter, 4)
    first = shards[5][0]
    np.random.seed(99)
    assert torch.equal(shards[5][0], first)
    assert not torch.equal(shards[5 + 120][0], first)
    assert not torch.equal(other[5][0], first)


def test_folders_of_classes_are_read_in_colour(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for k in range(3):
            Image.new("RGB", (8, 8), (k, 100, 200)).save(tmp_path / name / f"{k}.png")
    folder = Folder(tmp_path, as_it_is, 0)
    assert (folder.n, list(folder.classes)) == (6, ["cat", "dog"])
    image, label = folder[4]
    assert (image.shape, image[:, 0, 0].tolist(), label) == ((3, 8, 8), [1, 100, 200], 1)
    with pytest.raises(FileNotFoundError, match="Couldn't find any class folder"):
        Folder(tmp_path / "cat", as_it_is, 0)
