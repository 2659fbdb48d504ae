"""Little WebDataset directories, made with nothing of ours; the trainer's modules on the path, as when it is run."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "trainer"))

import augment  # noqa: F401 makes torchvision ready before anything imports timm


def picture(label: int, number: int, size: int = 32) -> bytes:
    """A grey PNG in which a bright bar stands where the label says, in noise of its own."""
    pixels = np.random.default_rng((label, number)).integers(0, 90, (size, size), dtype=np.uint8)
    pixels[:, label * size // 4 : (label + 1) * size // 4] += 120
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_split(folder: Path, split: str, lengths: list[int], n_classes: int = 4, first: int = 0) -> dict[str, object]:
    """Write a split's tars; return what _info.json says of it."""
    folder.mkdir(parents=True, exist_ok=True)
    names, number = [], first
    for k, length in enumerate(lengths):
        names.append(f"{split}-{k:06}.tar")
        with tarfile.open(folder / names[-1], "w", format=tarfile.USTAR_FORMAT) as tar:
            for _ in range(length):
                label = number % n_classes
                for ending, content in ((".png", picture(label, number)), (".cls", str(label).encode())):
                    member = tarfile.TarInfo(f"{number:06}{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                number += 1
    return {"name": split, "num_samples": sum(lengths), "filenames": names, "shard_lengths": lengths}


def write_dataset(folder: Path, train: list[int], validation: list[int], n_classes: int = 4) -> Path:
    splits = {
        "train": write_split(folder, "train", train, n_classes),
        "validation": write_split(folder, "validation", validation, n_classes, first=900_000),
    }
    info = {"splits": splits, "num_classes": n_classes, "spec_hash": f"{train}{validation}"}
    (folder / "_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images to train on, in shards of any length, and 19 to validate on; not to be changed."""
    return write_dataset(tmp_path_factory.mktemp("small") / "data", [40, 7, 23, 31, 19], [12, 7])
