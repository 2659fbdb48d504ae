"""Odd `_info.json` files and checkpoints give one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.runs import LITTLE, train
from tests.trainer.shapes import odd_checkpoints, odd_infos
from trainer import checkpoint
from trainer.errors import InputError
from trainer.info import read_split
from trainer.learner import build_model
from trainer.recipe import Recipe
from trainer.tars import build_index


def assert_printable(error: Exception) -> None:
    assert str(error).isprintable(), str(error)
    assert len(str(error)) < 800


def test_odd_infos_give_one_line(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small, tmp_path / "data"))
    right = json.loads((small / "_info.json").read_text())
    files, read = odd_infos(right), []
    for name, content in files.items():
        (folder / "_info.json").write_bytes(content)
        try:
            split = read_split(str(folder), "train")
            build_index(split, tmp_path)
        except (InputError, FileNotFoundError) as error:
            assert_printable(error)
        else:
            assert (split.filenames, split.n_classes) == (right["splits"]["train"]["filenames"], 4), name
            read.append(name)
    assert len(files) > 190
    assert set(read) == {
        *(f"spec_hash {name}" for name in ("text", "empty")),
        *(f"splits.train.{key} list" for key in ("shard_bytes", "shard_sha256")),
    }


@pytest.fixture(scope="module")
def run(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    out = tmp_path_factory.mktemp("run")
    torch.set_num_threads(1)
    assert train("--data", small, "--out", out, "--epochs", "1", *LITTLE) == 0
    return out


def test_odd_checkpoints_give_one_line(run: Path, small: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = torch.load(run / "last.pt", weights_only=True)
    files, resumed = odd_checkpoints(content), []
    for name, odd in files.items():
        torch.save(odd, tmp_path / "last.pt")
        try:
            assert train("--data", small, "--out", tmp_path, "--epochs", "1", *LITTLE, "--resume") == 0
        except (InputError, SystemExit) as error:
            if isinstance(error, InputError):
                assert_printable(error)
            assert not (tmp_path / "model.safetensors").exists(), name
        else:
            resumed.append(name)
            (tmp_path / "model.safetensors").unlink()
    assert len(files) > 140
    free = {
        f"{key} {name}" for key in ("processes", "workers") for name in ("negative", "huge")
    }  # which say who computed
    assert set(resumed) == {"scheduler", "scaler mapping", "log_bytes huge"} | free


def test_odd_checkpoints_are_not_fine_tuned(run: Path, tmp_path: Path) -> None:
    recipe = Recipe(model="test_vit", size=32)
    content: dict[str, Any] = torch.load(run / "last.pt", weights_only=True)
    names = {name: odd for name, odd in odd_checkpoints(content).items() if "state_dict" in name or "arch" in name}
    names["position embeddings"] = {**content, "state_dict": {**content["state_dict"], "pos_embed": torch.zeros(3)}}
    names["a place"] = {**content, "arch": "hf-hub:someone/model"}
    for odd in names.values():
        torch.save(odd, tmp_path / "x.pt")
        try:
            weights = checkpoint.load(tmp_path / "x.pt")
            build_model(recipe, 4, weights.state_dict)
        except InputError as error:
            assert_printable(error)
        else:
            assert weights.arch in ("", "test_vit")
            assert weights.state_dict.keys() == content["state_dict"].keys()
