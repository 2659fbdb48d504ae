"""Checkpoints are atomic, run no code, load in timm."""

from __future__ import annotations

import os
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from trainer import checkpoint
from trainer.errors import InputError

MODEL = "test_vit"
WEIGHTS = {"x": torch.zeros(3)}


def model(n_classes: int = 4) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(MODEL, num_classes=n_classes, img_size=32)


def test_timm_loads_an_export_with_its_head(tmp_path: Path) -> None:
    net = model().eval()
    checkpoint.export(tmp_path / "model.safetensors", net.state_dict(), {"arch": MODEL})
    there = timm.create_model(
        MODEL, num_classes=4, img_size=32, checkpoint_path=str(tmp_path / "model.safetensors")
    ).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(x), there(x))


def test_timm_loads_an_export_with_another_head(tmp_path: Path) -> None:
    net = model()
    checkpoint.export(tmp_path / "model.safetensors", net.state_dict(), {"arch": MODEL})
    overlay = {"file": str(tmp_path / "model.safetensors"), "num_classes": -1, "custom_load": False}
    there = timm.create_model(MODEL, pretrained=True, num_classes=7, img_size=32, pretrained_cfg_overlay=overlay)
    assert there.head.weight.shape[0] == 7
    assert torch.equal(there.blocks[0].attn.qkv.weight, net.blocks[0].attn.qkv.weight)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch evil",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(InputError, match="is not a checkpoint of this trainer: "):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_files_that_are_not_checkpoints_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        checkpoint.load(tmp_path / name)
    for content in (b"", b"garbage" * 100):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="is not a checkpoint of this trainer: "):
            checkpoint.load(tmp_path / name)
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="`state_dict`"):
        checkpoint.load(tmp_path / "other.pt")


def test_a_full_disk_is_an_os_error(tmp_path: Path) -> None:
    """The size of files is limited here."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.save(tmp_path / "last.pt", {"state_dict": {"x": torch.zeros(1_000_000)}})
        with pytest.raises(OSError, match="File too large"):
            checkpoint.export(tmp_path / "model.safetensors", {"x": torch.zeros(1_000_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_exports_have_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    checkpoint.export(tmp_path / "model.safetensors", {"x": torch.zeros(3)}, {})
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_failed_write_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"state_dict": WEIGHTS, "arch": "a"})

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, {"state_dict": WEIGHTS, "arch": "b"})
    assert checkpoint.load(path).arch == "a"
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


RUN = {"arch": "a", "n_classes": 4, "dataset": "d", "images_per_update": 16, "processes": 2, "workers": 1}
RECIPE = {"lr": 1.0, "compile": False, "batch": 8}
STATE = {"state_dict": WEIGHTS, "best": -1.0, "log_bytes": 0, "optimizer": {}, "scaler": {}}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"n_classes": 5}, "has n_classes 4, not 5"),
        ({"dataset": "e"}, "has dataset d, not e"),
        ({"images_per_update": 8}, "has images_per_update 16, not 8; keep --batch x --accumulate x processes, or"),
        ({"lr": 2.0}, "has lr 1.0, not 2.0; resume it unchanged, or give another --out"),
    ],
)
def test_only_an_unchanged_run_resumes(change: dict[str, Any], rule: str, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    assert checkpoint.load_to_resume(path, RUN, RECIPE) is None
    checkpoint.save(path, {**RUN, **STATE, "recipe": RECIPE, "update": 7})
    resumed = checkpoint.load_to_resume(path, RUN, RECIPE | {"compile": True})
    assert resumed
    assert resumed.update == 7
    run, recipe = ({key: change.get(key, value) for key, value in values.items()} for values in (RUN, RECIPE))
    with pytest.raises(InputError, match=rule):
        checkpoint.load_to_resume(path, run, recipe)


@pytest.mark.parametrize("change", [{"processes": 1}, {"workers": 3}, {"batch": 16}])
def test_deal_changes_only_where_it_may(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    run, recipe = ({key: change.get(key, value) for key, value in values.items()} for values in (RUN, RECIPE))
    checkpoint.save(path, {**RUN, **STATE, "recipe": RECIPE, "update": 12})
    assert checkpoint.load_to_resume(path, run, recipe, 6)
    with pytest.raises(InputError, match=r"has \w+ \d+, not \d+; resume it unchanged"):
        checkpoint.load_to_resume(path, run, recipe, 5)


def test_other_checkpoints_do_not_resume(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last.pt", {"state_dict": WEIGHTS, "epoch": 3})
    with pytest.raises(InputError, match=r"last\.pt` is not a checkpoint of this trainer: `update`"):
        checkpoint.load_to_resume(tmp_path / "last.pt", RUN, RECIPE)
