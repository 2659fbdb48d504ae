"""Subsets of real images: which images, and the files of each format."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from fdsl import InputError
from fdsl.ladders.ladder import Target
from fdsl.ladders.targets import FolderSource, IdxSource, choose, make_subsets, open_target, subset_sizes
from tests.fdsl.ladders.conftest import N_CLASSES, N_EACH, write_idx

LABELS = np.arange(N_CLASSES * N_EACH) % N_CLASSES


def tiny(data: Path, labels: tuple[int | str, ...] = (2, "all")) -> Target:
    return Target.model_validate({"data": str(data), "test": "t10k", "labels": labels, "held": 3})


def make(name: str, target: Target, n_seeds: int, out: Path) -> dict[int | Literal["all"], int]:
    """Make a target's folders; return their sizes."""
    source = open_target(target)
    make_subsets(source, n_seeds, out / name)
    return subset_sizes(source)


def test_seed_chooses_per_class() -> None:
    few, many, rest = (choose(LABELS, n, 3, seed=1) for n in (2, 5, "all"))  # type: ignore[arg-type]
    for subset, n in ((few, 2), (many, 5), (rest, N_EACH - 3)):
        assert np.bincount(LABELS[subset.train]).tolist() == [n] * N_CLASSES
        assert np.bincount(LABELS[subset.held]).tolist() == [3] * N_CLASSES
        assert set(subset.held) == set(few.held)
        assert not set(subset.train) & set(subset.held)
    assert set(few.train) < set(many.train) < set(rest.train)
    assert set(choose(LABELS, 2, 3, seed=2).train) != set(few.train)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="class 0 has 12 training images, fewer than 3 held out and 10 to"):
        choose(LABELS, 10, 3, seed=0)
    with pytest.raises(InputError, match="fewer than 12 held out and 1 to train on"):
        choose(LABELS, "all", 12, seed=0)


@pytest.mark.parametrize("is_zipped", [False, True])
def test_idx_files_become_idx_files(is_zipped: bool, target: Path, tmp_path: Path) -> None:
    if is_zipped:
        for path in list(target.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    assert make("tiny", tiny(target), 2, tmp_path / "out") == {2: 6, "all": 27}
    folder = tmp_path / "out" / "tiny" / "2" / "seed-1"
    made = IdxSource(Target(data=str(folder), labels=("all",)))
    images = made._read("train", "images-idx3", 3)
    chosen = choose(LABELS, 2, 3, seed=1)
    assert images[:, 0, 0].tolist() == chosen.train.tolist()  # a pixel is the image's number
    assert made.labels.tolist() == LABELS[chosen.train].tolist()
    assert made._read("held", "images-idx3", 3)[:, 0, 0].tolist() == chosen.held.tolist()
    assert made._read("test", "labels-idx1", 1).tolist() == [0, 1, 2, 0, 1, 2]


def test_folders_become_links(tmp_path: Path) -> None:
    for split, n in (("train", 4), ("val", 2)):
        for label in ("cat", "dog"):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for number in range(n):
                (tmp_path / "photos" / split / label / f"{number}.png").write_text(f"{label} {number}")
    (tmp_path / "photos" / "train" / "cat" / ".DS_Store").write_text("")
    target = Target(data=str(tmp_path / "photos"), test="val", labels=(1,), held=2)
    assert FolderSource(target).labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert make("photos", target, 1, tmp_path / "out") == {1: 2}
    folder = tmp_path / "out" / "photos" / "1" / "seed-0"
    found = {split: [path.read_text() for path in (folder / split).glob("*/*")] for split in ("train", "held", "test")}
    assert {split: len(texts) for split, texts in found.items()} == {"train": 2, "held": 4, "test": 4}
    assert not set(found["train"]) & set(found["held"])
    assert {path.parent.name for path in (folder / "train").glob("*/*")} == {"cat", "dog"}


def test_made_subsets_are_kept(target: Path, tmp_path: Path) -> None:
    make("tiny", tiny(target), 1, tmp_path / "out")
    kept = tmp_path / "out" / "tiny" / "2" / "seed-0"
    before = kept.stat().st_ino
    assert make("tiny", tiny(target), 2, tmp_path / "out") == {2: 6, "all": 27}
    assert kept.stat().st_ino == before
    assert (kept.parent / "seed-1").is_dir()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-labels-idx1-ubyte", b"", "is not an IDX file of bytes with 1 dimensions"),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03" + 12 * b"\xff", "is not an IDX file of bytes with 3 dimensions"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(b"\0\0\x08\x01" + 4 * b"\xff" + b"few", mtime=0), "is not an IDX file"),
        ("train-labels-idx1-ubyte.gz", b"\x1f\x8b", "cannot be read"),
        ("train-labels-idx1-ubyte.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 9, "cannot be read"),
    ],
)  # fmt: skip
def test_damaged_idx_files_are_named(name: str, content: bytes, message: str, target: Path, tmp_path: Path) -> None:
    if name.endswith(".gz"):
        (target / name.removesuffix(".gz")).unlink()
    (target / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        make("tiny", tiny(target), 1, tmp_path / "out")
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_wrong_places_are_refused(target: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no split 'train': neither a folder nor train-images-idx3-ubyte"):
        make("tiny", tiny(tmp_path / "nowhere"), 1, tmp_path / "out")
    write_idx(target / "train-labels-idx1-ubyte", LABELS[:-1])
    with pytest.raises(InputError, match="has 36 training images and 35 labels"):
        make("tiny", tiny(target), 1, tmp_path / "out")
    (target / "t10k-labels-idx1-ubyte").unlink()
    write_idx(target / "train-labels-idx1-ubyte", LABELS)
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte` is missing; `train` and `test` name splits in"):
        make("tiny", tiny(target), 1, tmp_path / "out")
    photos = Target(data=str(tmp_path / "photos"), labels=("all",), held=1)
    (tmp_path / "photos" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match=r"photos/test` is not a folder; `test` names a split beside `train`"):
        make("photos", photos, 1, tmp_path / "out")
    (tmp_path / "photos" / "test").mkdir()
    with pytest.raises(InputError, match="photos/train` has no folder per class; move the images"):
        make("photos", photos, 1, tmp_path / "out")
    (tmp_path / "photos" / "train" / "cat").mkdir()
    with pytest.raises(InputError, match=r"photos/train/cat` has no images; each folder in .* delete it or fill it"):
        make("photos", photos, 1, tmp_path / "out")
    (tmp_path / "photos" / "train" / "cat" / "a.png").write_text("")
    with pytest.raises(InputError, match="class 0 has 1 training images"):
        make("photos", photos, 1, tmp_path / "out")


def test_no_more_is_unpacked_than_stated(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(b"\0\0\x08\x01\0\0\0\x03" + bytes(2**20))
    (target / "train-labels-idx1-ubyte").unlink()
    (target / "train-labels-idx1-ubyte.gz").write_bytes(packed)
    n_read, read = [], gzip.GzipFile.read

    def noted(file: gzip.GzipFile, n: int = -1) -> bytes:
        n_read.append(n)
        return read(file, n)

    monkeypatch.setattr(gzip.GzipFile, "read", noted)
    with pytest.raises(InputError, match="is not an IDX file"):
        open_target(tiny(target))
    assert n_read == [4, 4, 3 + 1]
