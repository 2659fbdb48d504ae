"""Small WebDataset directories, made without the toolkit."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import trainer  # noqa: F401 makes torchvision importable

ROOT = Path(__file__).parents[2]


def picture(label: int, number: int, size: int = 32) -> bytes:
    """Return a noisy grey PNG.

    A bright bar's position is the label.
    """
    pixels = np.random.default_rng((label, number)).integers(0, 90, (size, size), dtype=np.uint8)
    pixels[:, label * size // 4 : (label + 1) * size // 4] += 120
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_split(folder: Path, split: str, lengths: list[int], n_classes: int = 4, first: int = 0) -> dict[str, Any]:
    """Write a split's tars; return its entry in _info.json."""
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
    """Write both splits and a minimal _info.json."""
    splits = {
        "train": write_split(folder, "train", train, n_classes),
        "validation": write_split(folder, "validation", validation, n_classes, first=900_000),
    }
    info = {
        "splits": splits,
        "num_classes": n_classes,
        "spec_hash": hashlib.sha256(f"{train}{validation}".encode()).hexdigest(),
    }
    (folder / "_info.json").write_text(json.dumps(info))
    return folder


def edit_info(folder: Path, **changes: object) -> None:
    """Change keys of _info.json."""
    path = folder / "_info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def add_hashes(folder: Path) -> None:
    """Add the tars' sizes and hashes to _info.json."""
    splits = json.loads((folder / "_info.json").read_text())["splits"]
    for split in splits.values():
        contents = [(folder / name).read_bytes() for name in split["filenames"]]
        split["shard_bytes"] = [len(content) for content in contents]
        split["shard_sha256"] = [hashlib.sha256(content).hexdigest() for content in contents]
    edit_info(folder, splits=splits)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a read-only dataset of unequal shards.

    120 images to train on, 19 to validate on.
    """
    folder = write_dataset(tmp_path_factory.mktemp("small") / "data", [40, 7, 23, 31, 19], [12, 7])
    add_hashes(folder)
    return folder


@pytest.fixture(autouse=True)
def _one_thread_and_own_signals() -> Iterator[None]:
    """Use one thread; restore signal handlers."""
    torch.set_num_threads(1)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
