"""Checkpoints: written whole or not at all, read without running code, and exported as timm loads them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
import augment  # noqa: F401 makes torchvision ready for timm
from safetensors import safe_open
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed


FREE = ("keep_every", "compile")
"""What of a recipe may change when a run is gone on with."""


class CheckpointError(ValueError):
    """What is wrong with a checkpoint, in one line."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint of tensors and plain Python values under its name once it is whole."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with hidden.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except RuntimeError as error:
        raise _told_by_the_system(error) from None
    finally:
        hidden.unlink(missing_ok=True)


def _told_by_the_system(error: BaseException) -> BaseException:
    """Return the error of the system, such as that of a full disk, in the place of which torch raised one of its own."""
    inner: BaseException | None = error
    while inner and not isinstance(inner, OSError):
        inner = inner.__context__
    return inner or error


def export(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    """Write weights as safetensors, which timm's `create_model(..., checkpoint_path=...)` loads."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        hidden.touch()
        rights = hidden.stat().st_mode
        save_file(tensors, hidden, {key: str(value) for key, value in metadata.items()})
        hidden.chmod(rights)  # it leaves files that their owner alone can read
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Return a checkpoint, or the metadata of a .safetensors file with its `state_dict`; nothing of it is run."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {**(file.metadata() or {}), "state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"`{path}` does not exist") from None
    except Exception as error:  # torch, pickle and safetensors each raise their own kinds
        raise CheckpointError(
            f"`{path}` is no whole checkpoint of tensors and plain values ({type(error).__name__}): it is cut off, or another"
            " program's; an older one may stand beside it"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"`{path}` holds no `state_dict`")
    return content


def load_weights(model: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, new_head: bool = False) -> None:
    """Load weights into a model of the same architecture.

    With `new_head`, all but the classifier, which stays as it is; position embeddings of another image size are resized.
    """
    if new_head:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(_heads(model))}
        _resize_positions(model, state)
    there = model.state_dict()
    missing = [name for name in there if name not in state and not (new_head and name.startswith(_heads(model)))]
    unknown = [name for name in state if name not in there]
    other = [
        f"{name} ({tuple(state[name].shape)} there, {tuple(there[name].shape)} here)"
        for name in state
        if name in there and state[name].shape != there[name].shape
    ]
    if missing or unknown or other:
        parts = (("missing", missing), ("unknown", unknown), ("of another shape", other))
        said = "; ".join(
            f"{what}: {', '.join(names[:4])}{', ...' * (len(names) > 4)}" for what, names in parts if names
        )
        what = "another architecture" if new_head else "another architecture or number of classes"
        raise CheckpointError(f"`{path}` is of {what}: {said}")
    model.load_state_dict(state, strict=False)


def _resize_positions(model: Any, state: dict[str, torch.Tensor]) -> None:
    """Resize a vision transformer's position embeddings, (1, tokens, width), as timm does for weights of its own."""
    here, there = getattr(model, "pos_embed", None), state.get("pos_embed")
    if here is None or there is None or here.ndim != 3 or here.shape[1] == there.shape[1]:
        return
    n_prefix = 0 if getattr(model, "no_embed_class", False) else getattr(model, "num_prefix_tokens", 1)
    if not hasattr(model, "patch_embed") or math.isqrt(there.shape[1] - n_prefix) ** 2 != there.shape[1] - n_prefix:
        return
    state["pos_embed"] = resample_abs_pos_embed(there, model.patch_embed.grid_size, num_prefix_tokens=n_prefix)


def _heads(model: torch.nn.Module) -> tuple[str, ...]:
    """Return what the names of a timm model's classifier begin with."""
    config = getattr(model, "pretrained_cfg", {}) or {}
    names = config.get("classifier") or "head"
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def resumable(path: Path, recipe: dict[str, Any], what: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of a run that the same recipe, dataset and processes go on with to the same losses."""
    there = load(path)
    pairs = [(name, there.get("what", {}).get(name), value) for name, value in what.items()]
    pairs += [
        (f"`{name}`", there.get("recipe", {}).get(name), value) for name, value in recipe.items() if name not in FREE
    ]
    for name, old, new in pairs:
        if old != new:
            raise CheckpointError(
                f"`{path}` cannot be gone on with: its {name} is {old}, and here it is {new}; another --out begins anew"
            )
    return there
