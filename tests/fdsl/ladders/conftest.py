"""A small target, a small ladder, and a trainer that trains nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdsl.ladders.ladder import Ladder, parse_ladder

N_CLASSES, N_EACH = 3, 12

STUB = """
import json, os, signal, sys
from pathlib import Path

words = [word for word in sys.argv[1:] if word not in ("--freeze", "--resume")]
flags = dict(zip(words[::2], words[1::2]))
out = Path(flags["--out"])
(out / "environment.json").write_text(json.dumps(dict(os.environ)))
with Path("started.txt").open("a") as file:
    file.write(flags["--out"] + "\\n")
if Path("broken").exists() and str(out) in Path("broken").read_text():
    sys.exit("trainer: the loss is nan")
if Path("killed").exists() and str(out) in Path("killed").read_text():
    os.kill(os.getpid(), signal.SIGKILL)
if Path("endless").exists() and str(out) in Path("endless").read_text():
    signal.pause()
if "--checkpoint" in flags:
    assert Path(flags["--checkpoint"]).exists()
top1 = 40.0 + int(flags["--seed"]) + (10 if flags.get("--lr") == "0.003" else 0) + (5 if "--checkpoint" in flags else 0)
records = [{"kind": "validation", "top1": 1.0}, {"kind": "train"}, {"kind": "validation", "top1": top1}]
(out / "log.jsonl").write_text("".join(json.dumps(each) + "\\n" for each in records))
for name in ("last.pt", "best.pt", "model.safetensors"):
    (out / name).write_text("")
"""
"""Top-1 is 40, plus the seed, 10 at the best learning rate, and 5 after pre-training."""


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write an IDX file of bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_target(folder: Path) -> Path:
    """Write IDX files of images whose pixels are their number."""
    folder.mkdir()
    for split, n in (("train", N_CLASSES * N_EACH), ("t10k", 6)):
        images = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), dtype=np.uint8)
        write_idx(folder / f"{split}-images-idx3-ubyte", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte", np.arange(n) % N_CLASSES)
    return folder


def small_mapping(target: Path) -> dict[str, Any]:
    """Return a ladder of 11 runs: 2 pre-trainings, 6 searches, 3 measurements."""
    return {
        "spec": {"family": "exfractal", "categories": 2, "instances": {"train": 4, "validation": 1},
                 "params": {"points": 100}, "image": {"size": 32}},
        "rungs": {"plain": {}, "shuffled": {"shuffled": True, "recipe": {"batch": 5}}},
        "models": {"vit": {"model": "test_vit", "size": 32}},
        "pretrain": {"images_seen": 20, "recipe": {"batch": 4}},
        "transfer": {"finetune": {"images_seen": 60, "rates": [0.003, 0.001], "recipe": {"freeze": True}}},
        "targets": {"tiny": {"data": str(target), "test": "t10k", "labels": [2], "held": 3}},
        "seeds": 1,
    }  # fmt: skip


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A target of IDX files."""
    return write_target(tmp_path / "target")


@pytest.fixture
def ladder(target: Path) -> Ladder:
    """A small ladder."""
    return parse_ladder(small_mapping(target))


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the trainer of new processes; the folder of the ladder's results."""
    package = tmp_path / "stub" / "trainer"
    package.mkdir(parents=True)
    for name in ("__init__", "pretrain", "finetune"):
        (package / f"{name}.py").write_text(STUB if name != "__init__" else "")
    for name in ("torch", "timm"):
        (package.parent / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "out"
