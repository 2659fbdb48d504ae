"""Checkpoints: atomic writes, reads that run no code, exports."""

import io
import os
import zipfile
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError
from safetensors import safe_open

from trainer.errors import InputError, explain, one_line

MAY_CHANGE = {"keep_every", "compile"}  # of the recipe, on resume
DEAL = {"batch", "accumulate", "processes", "workers"}  # they may change, too, where they do not decide the order
LARGEST_PLAIN = 16 << 20  # bytes of a checkpoint's plain part; ViT-B's take 0.1 MB

Tensors = Annotated[dict[str, torch.Tensor], Field(min_length=1)]
Word = Annotated[str, Field(max_length=100)]


class Weights(BaseModel, strict=True, arbitrary_types_allowed=True):
    """What fine-tuning reads of a checkpoint."""

    state_dict: Tensors
    state_dict_ema: Tensors | None = None
    arch: str = Field("", pattern=r"^\w*(\.\w+)?$", max_length=100)  # no place to load a model from


class Checkpoint(Weights):
    """What resuming reads of a checkpoint."""

    update: NonNegativeInt
    best: float = Field(ge=-1, le=100)
    log_bytes: NonNegativeInt
    recipe: dict[str, bool | int | float | str]
    n_classes: int
    dataset: Word
    images_per_update: int
    processes: int
    workers: int
    optimizer: dict[str, Any]
    scaler: dict[str, int | float]


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically, under a temporary name first."""
    temporary = path.with_name(f".{path.name}.tmp")
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


def _load(path: Path) -> Any:
    """Read a checkpoint, or a .safetensors file as one."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return {**(file.metadata() or {}), "state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        plain = [part for part in parts if part.filename.endswith(".pkl")]
        if sum(part.file_size for part in parts) > path.stat().st_size or any(
            part.file_size > LARGEST_PLAIN or b"bytearray\n" in archive.read(part) for part in plain
        ):  # torch stores uncompressed; a bytearray may be of any size
            raise ValueError("too large")
    return torch.load(path, map_location="cpu", weights_only=True)


def load(path: Path, schema: type[Weights] = Weights) -> Any:
    """Read a checkpoint of a schema."""
    try:
        return schema.model_validate(_load(path))
    except OSError:
        raise
    except ValidationError as error:
        reason = explain(error)
    except Exception as error:  # torch, pickle and safetensors each raise their own kinds
        reason = f"it is truncated, or holds more than tensors and plain values ({type(error).__name__})"
    raise InputError(f"`{path}` is not a checkpoint of this trainer: {reason}")


def load_to_resume(path: Path, run: dict[str, Any], recipe: dict[str, Any], every: int = 1) -> Checkpoint | None:
    """Read a run's checkpoint. None if there is none.

    every : updates after which DEAL may change.
    """
    if not path.exists():
        return None
    content: Checkpoint = load(path, Checkpoint)
    before, now = dict(content) | content.recipe, run | recipe
    may_change = MAY_CHANGE if content.update % every else MAY_CHANGE | DEAL
    for key, value in now.items():
        if key not in may_change and before.get(key) != value:
            change, means = f"{key} {one_line(before.get(key)):.100}, not {value}", "--batch x --accumulate x processes"
            rule = f"keep {means}" if key == "images_per_update" else "resume it unchanged"
            raise InputError(f"`{path}` has {change}; {rule}, or give another --out")
    return content
