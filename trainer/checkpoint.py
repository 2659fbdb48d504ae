"""Checkpoints: written atomically, read without running code, and exported for timm."""

import io
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open

from trainer.errors import InputError

MAY_CHANGE = {"keep_every", "compile"}  # of the recipe, on resume


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors and plain values."""
    buffer = io.BytesIO()  # torch.save to a file hides the error of a full disk
    torch.save(content, buffer)
    write(path, buffer.getbuffer())


def export(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write weights as safetensors, for timm's `create_model(..., checkpoint_path=...)`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    write(path, safetensors.torch.save(tensors, {key: str(value) for key, value in metadata.items()}))


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint, or a .safetensors file's metadata and `state_dict`."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {**(file.metadata() or {}), "state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content, state_dict=dict(content["state_dict"]))
    except OSError:
        raise
    except Exception as error:  # torch, pickle and safetensors each raise their own kinds
        reason = f"is truncated, or holds more than tensors and plain values ({type(error).__name__})"
        raise InputError(f"`{path}` is not a checkpoint: it has no `state_dict`, {reason}") from None


def load_to_resume(path: Path, run: dict[str, Any], recipe: dict[str, Any]) -> dict[str, Any]:
    """Read the checkpoint of a run, if there is one."""
    if not path.exists():
        return {}
    content = load(path)
    before, now = content | content.get("recipe", {}), run | recipe
    for key in now.keys() - MAY_CHANGE:
        if before.get(key) != now[key]:
            change = f"{key} {before.get(key)}, not {now[key]}"
            raise InputError(f"`{path}` has {change}; resume it unchanged, or give another --out")
    return content
