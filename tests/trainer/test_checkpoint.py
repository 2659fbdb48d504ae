"""Checkpoints are whole or not there, never run code, and load in stock timm."""

from __future__ import annotations

import os
import pickle
import resource
from pathlib import Path
from typing import Any

import augment  # noqa: F401 makes torchvision ready
import pytest
import timm
import torch

import checkpoint
from checkpoint import CheckpointError

MODEL = "test_vit"


def model(n_classes: int = 4) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(MODEL, num_classes=n_classes, img_size=32)


def test_what_is_exported_loads_in_timm_with_the_same_head(tmp_path: Path) -> None:
    net = model().eval()
    checkpoint.export(tmp_path / "model.safetensors", net.state_dict(), {"arch": MODEL})
    there = timm.create_model(
        MODEL, num_classes=4, img_size=32, checkpoint_path=str(tmp_path / "model.safetensors")
    ).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(x), there(x))


def test_what_is_exported_loads_in_timm_with_a_new_head(tmp_path: Path) -> None:
    net = model()
    checkpoint.export(tmp_path / "model.safetensors", net.state_dict(), {"arch": MODEL})
    overlay = {"file": str(tmp_path / "model.safetensors"), "num_classes": -1, "custom_load": False}
    there = timm.create_model(MODEL, pretrained=True, num_classes=7, img_size=32, pretrained_cfg_overlay=overlay)
    assert there.head.weight.shape[0] == 7
    assert torch.equal(there.blocks[0].attn.qkv.weight, net.blocks[0].attn.qkv.weight)


def test_a_new_head_takes_all_but_the_classifier(tmp_path: Path) -> None:
    net, other = model(), model(9)
    fresh = other.head.weight.clone()
    checkpoint.load_weights(other, net.state_dict(), tmp_path, new_head=True)
    assert torch.equal(other.head.weight, fresh)
    assert torch.equal(other.patch_embed.proj.weight, net.patch_embed.proj.weight)


def test_a_new_head_takes_position_embeddings_of_another_image_size(tmp_path: Path) -> None:
    """As timm resizes its own."""
    net, other = model(), timm.create_model(MODEL, num_classes=9, img_size=64)
    checkpoint.load_weights(other, net.state_dict(), tmp_path, new_head=True)
    checkpoint.export(tmp_path / "model.safetensors", net.state_dict(), {})
    overlay = {"file": str(tmp_path / "model.safetensors"), "num_classes": -1, "custom_load": False}
    theirs = timm.create_model(MODEL, pretrained=True, num_classes=9, img_size=64, pretrained_cfg_overlay=overlay)
    assert other.pos_embed.shape != net.pos_embed.shape
    assert torch.equal(other.pos_embed, theirs.pos_embed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("cls_token"), "missing: cls_token"),
        (lambda state: state.update(extra=torch.zeros(1)), "unknown: extra"),
        (
            lambda state: state.update(pos_embed=torch.zeros(1, 2, 3)),
            r"of another shape: pos_embed \(\(1, 2, 3\) there",
        ),
    ],
)
def test_weights_of_another_model_are_refused_with_the_keys(change: Any, told: str, tmp_path: Path) -> None:
    state = model().state_dict()
    change(state)
    with pytest.raises(CheckpointError, match=told):
        checkpoint.load_weights(model(), state, tmp_path)
    with pytest.raises(CheckpointError, match=r"of another shape: head\.weight"):
        checkpoint.load_weights(model(9), model().state_dict(), tmp_path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch evil",)


def test_a_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError, match="is no whole checkpoint of tensors"):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_what_cannot_be_read_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.load(tmp_path / name)
    for content in (b"", b"garbage" * 100):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="is no whole checkpoint of tensors"):
            checkpoint.load(tmp_path / name)
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="holds no `state_dict`"):
        checkpoint.load(tmp_path / "other.pt")


def test_a_full_disk_is_told_by_the_system(tmp_path: Path) -> None:
    """Files are limited in size here: torch raises an error of its own in the place of the system's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.save(tmp_path / "last.pt", {"state_dict": {"x": torch.zeros(1_000_000)}})
        with pytest.raises(Exception, match="too large"):
            checkpoint.export(tmp_path / "model.safetensors", {"x": torch.zeros(1_000_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_weights_are_readable_as_other_files_are(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    checkpoint.export(tmp_path / "model.safetensors", {"x": torch.zeros(3)}, {})
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"state_dict": {}, "update": 1})

    def half(content: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, {"state_dict": {}, "update": 2})
    assert checkpoint.load(path)["update"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]
