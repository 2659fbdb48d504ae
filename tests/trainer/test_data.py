"""Every sample exactly once an epoch, over all ranks and workers, whatever the counts; what is wrong is told by name."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tars
from batches import LEAST, Batches
from data import Folder, Shards, loader, open_split
from info import DataError, read_split
from launch import Place
from tars import indexed, mapped
from tests.trainer.conftest import picture, write_dataset

SIZES = st.tuples(st.integers(1, 200), st.integers(1, 9), st.integers(1, 7))


def as_it_is(pixels: np.ndarray) -> np.ndarray:
    return pixels.copy()


def opened(folder: Path, cache: Path, split: str = "train") -> Shards:
    found = read_split(folder, split)
    return Shards(found, mapped(indexed(found, cache)), as_it_is, seed=3)


def epochs(batches: Batches, n: int) -> list[list[list[int]]]:
    """The batches of some epochs."""
    stream = iter(batches)
    return [list(itertools.islice(stream, batches.steps)) for _ in range(n)]


@settings(deadline=None, max_examples=200)
@given(SIZES, st.integers(0, 3))
def test_every_sample_is_taken_once_an_epoch_over_all_ranks(sizes: tuple[int, int, int], seed: int) -> None:
    n, batch, world = sizes
    ranks = [Batches(n, batch, rank, world, seed) for rank in range(world)]
    taken = [epochs(each, 2) for each in ranks]
    assert len({each.steps for each in ranks}) == 1
    for epoch in range(2):
        seen: Counter[int] = Counter()
        for each, batches in zip(ranks, taken, strict=True):
            assert len(batches[epoch]) == each.steps
            for step, found in enumerate(batches[epoch]):
                assert len(found) == max(LEAST, each.count(step))
                assert each.count(step) <= batch
                seen.update(found[: each.count(step)])
        assert seen == Counter(range(epoch * n, (epoch + 1) * n))


@settings(deadline=None)
@given(SIZES, st.integers(1, 4))
def test_weighted_means_over_ranks_are_the_mean_over_all_samples(sizes: tuple[int, int, int], accumulate: int) -> None:
    n, batch, world = sizes
    ranks = [Batches(n, batch, rank, world) for rank in range(world)]
    losses = np.random.default_rng(n).normal(size=n)
    group = range(max(0, ranks[0].steps - accumulate), ranks[0].steps)
    over_ranks, members = [], []
    for each in ranks:
        (batches,) = epochs(each, 1)
        counted = {step: batches[step][: each.count(step)] for step in group}
        means = {step: np.mean(losses[found]) if found else 0.0 for step, found in counted.items()}
        over_ranks.append(sum(means[step] * each.weight(step, group) for step in group))
        members += [i for found in counted.values() for i in found]
    assert np.isclose(np.mean(over_ranks), np.mean(losses[members]))


def test_the_order_is_new_each_epoch_and_a_function_of_the_seed() -> None:
    first, second = (tuple(j % 50 for batch in epoch for j in batch) for epoch in epochs(Batches(50, 8, seed=1), 2))
    assert first != second
    assert epochs(Batches(50, 8, seed=1), 3) == epochs(Batches(50, 8, seed=1), 3)
    assert epochs(Batches(50, 8, seed=1), 1) != epochs(Batches(50, 8, seed=2), 1)
    assert [j for batch in epochs(Batches(50, 8, shuffle=False), 1)[0] for j in batch] == list(range(50))


@settings(deadline=None)
@given(st.integers(0, 40))
def test_batches_begin_at_any_step(start: int) -> None:
    whole, later = Batches(50, 4, 1, 2, seed=5), Batches(50, 4, 1, 2, seed=5)
    later.start = start
    stream = iter(whole)
    expected = list(itertools.islice(stream, start + 9))[start:]
    assert list(itertools.islice(iter(later), 9)) == expected


def test_repeated_augmentation_takes_a_third_of_the_samples_three_times_each_on_three_ranks() -> None:
    ranks = [Batches(90, 5, rank, 3, seed=1, repeats=3) for rank in range(3)]
    for epoch in range(2):
        by_rank = [[j for batch in epochs(each, 2)[epoch] for j in batch] for each in ranks]
        assert len({j for found in by_rank for j in found}) == 90
        samples = [{j % 90 for j in found} for found in by_rank]
        assert samples[0] == samples[1] == samples[2]
        assert len(samples[0]) == 30


@pytest.mark.parametrize("lengths", [[32, 32, 32, 32], [40, 40, 40], [40, 7, 23, 31, 19], [100], [1, 1, 1]])
@pytest.mark.parametrize("workers", [0, 3])
def test_loaders_give_each_key_once_an_epoch_with_fewer_shards_than_workers_too(
    lengths: list[int], workers: int, tmp_path: Path
) -> None:
    shards = opened(write_dataset(tmp_path / "data", lengths, [1]), tmp_path)
    expected = Counter(picture(i % 4, i) for i in range(shards.n))
    world = 2
    streams = [Batches(shards.n, 8, rank, world, seed=2) for rank in range(world)]
    loaders = [loader(shards, each, workers, pin=False) for each in streams]
    pixels = {np.asarray(Image.open(__import__("io").BytesIO(content))).tobytes(): content for content in expected}
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


def test_an_index_is_built_once_and_then_mapped(small: Path, tmp_path: Path) -> None:
    split = read_split(small, "train")
    mapped(indexed(split, tmp_path))
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    index = mapped(indexed(split, tmp_path))
    assert isinstance(index, np.memmap)
    assert index.shape == (120, 4)
    assert index[:, tars.LABEL].tolist() == [i % 4 for i in range(120)]
    assert mapped(indexed(split, tmp_path)).shape == (120, 4)
    assert file.stat().st_mtime_ns == before


def test_another_machines_copy_of_the_tars_needs_no_index_of_its_own(small: Path, tmp_path: Path) -> None:
    """Files of other times, as copying makes them."""
    copy = Path(shutil.copytree(small, tmp_path / "copy"))
    for path in copy.iterdir():
        os.utime(path, (1, 1))
    made = indexed(read_split(small, "train"), tmp_path / "run")
    other = Place(1, 2, torch.device("cpu"))
    with mock.patch.object(Place, "from_first", return_value=(str(made), "")):
        images = open_split(str(copy), "train", None, tmp_path / "run", as_it_is, 0, other)
        assert [image.shape for image, _ in (images[0], images[119])] == [(1, 32, 32)] * 2
        assert [path.name for path in (tmp_path / "run").iterdir()] == [made.name]
        os.truncate(copy / "train-000001.tar", 0)
        (copy / "_info.json").write_text(
            json.dumps(
                {
                    **json.loads((copy / "_info.json").read_text()),
                    "shardlist": [{"url": "train-000001.tar", "filesize": 9}],
                }
            )
        )
        with pytest.raises(DataError, match=r"has 0 bytes; _info\.json says 9"):
            open_split(str(copy), "train", None, tmp_path / "run", as_it_is, 0, other)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 512 * 512)


HARMS = {
    r"train-000002\.tar` (holds 11|is truncated)": lambda folder: truncate(folder / "train-000002.tar"),
    "train-000001.tar` is missing, and _info.json names it": lambda folder: (folder / "train-000001.tar").unlink(),
    "train-000003.tar` is empty": lambda folder: (folder / "train-000003.tar").write_bytes(b""),
    "train-000000.tar`: no tar header at byte 0": lambda folder: (folder / "train-000000.tar").write_bytes(b"x" * 2048),
    "train-000001.tar` holds 23 samples; _info.json says 7": lambda folder: shutil.copy(
        folder / "train-000002.tar", folder / "train-000001.tar"
    ),
    "there are 3 classes": lambda folder: edit(folder, num_classes=3),
    "has no _info.json": lambda folder: (folder / "_info.json").unlink(),
    "is not JSON": lambda folder: (folder / "_info.json").write_text("{"),
    "has no split 'train'; it has none": lambda folder: edit(folder, splits={}),
    "`shard_lengths` of train must say": lambda folder: edit(
        folder, splits={"train": {"filenames": ["train-000000.tar"]}}
    ),
}


def edit(folder: Path, **changes: object) -> None:
    path = folder / "_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("told", HARMS)
def test_what_is_wrong_with_a_dataset_is_told_by_name(told: str, small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    HARMS[told](folder)
    with pytest.raises(DataError, match=told):
        opened(folder, tmp_path)


def test_a_tar_cut_between_two_members_is_no_silently_short_epoch(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    path = folder / "train-000002.tar"
    split = read_split(folder, "train")
    end = int(mapped(indexed(split, tmp_path))[60, tars.OFFSET]) - 512
    os.truncate(path, end)
    with pytest.raises(DataError, match=r"train-000002\.tar` holds 13 samples; _info\.json says 23"):
        opened(folder, tmp_path)


def test_an_image_depends_on_seed_visit_and_number_alone(small: Path, tmp_path: Path) -> None:
    def jitter(pixels: np.ndarray) -> np.ndarray:
        return np.roll(pixels, np.random.randint(1, 31), axis=1)

    split = read_split(small, "train")
    index = mapped(indexed(split, tmp_path))
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
    assert (folder.n, folder.classes) == (6, ["cat", "dog"])
    image, label = folder[4]
    assert (image.shape, image[:, 0, 0].tolist(), label) == ((3, 8, 8), [1, 100, 200], 1)
    with pytest.raises(DataError, match="holds no folders of classes"):
        Folder(tmp_path / "cat", as_it_is, 0)
