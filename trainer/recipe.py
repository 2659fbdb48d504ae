"""What a run is told: the fields of Recipe, from a YAML file, from flags, or by default."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class RecipeError(ValueError):
    """What is wrong with a recipe, in one line."""


@dataclass(frozen=True)
class Recipe:
    """The published recipe of the 1k sets, but for the model; learning rates are not scaled with the batch unless asked.

    batch : of each process, in each of `accumulate` steps to an update. lr_scale_batch : the global batch at which `lr` is
    meant, for linear scaling; 0 does not scale. warmup, epochs : epochs. repeats : repeated augmentation, 1 is none.
    drop_path, smoothing, mixup, cutmix, erasing, clip, ema : 0 is none. amp : "none", "bf16" or "fp16".
    """

    model: str = "deit_tiny_patch16_224"
    size: int = 224
    epochs: int = 300
    batch: int = 64
    accumulate: int = 1
    lr: float = 1e-3
    lr_scale_batch: int = 0
    warmup_lr: float = 1e-4
    min_lr: float = 1e-5
    warmup: float = 5.0
    weight_decay: float = 0.05
    smoothing: float = 0.1
    drop_path: float = 0.1
    randaugment: str = "rand-m9-mstd0.5-inc1"
    crop_scale: float = 0.08
    flip: float = 0.0
    mixup: float = 0.8
    cutmix: float = 1.0
    erasing: float = 0.25
    repeats: int = 3
    clip: float = 0.0
    ema: float = 0.0
    amp: str = "none"
    compile: bool = False
    channels_last: bool = False
    eval_crop: float = 0.9
    keep_every: int = 0
    seed: int = 0


_AT_LEAST_1 = ("size", "epochs", "batch", "accumulate", "repeats")
_SHARES = ("smoothing", "drop_path", "flip", "erasing", "ema", "eval_crop", "crop_scale")


def checked(values: dict[str, Any], source: str) -> Recipe:
    """Return a recipe of some values, the others by default; RecipeError names the key, its value and the rule."""
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    for name, value in values.items():
        if name not in fields:
            raise RecipeError(f"{source}: `{name}` is no key of a recipe; they are {', '.join(fields)}")
        kind = type(fields[name].default)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)) and not (
            kind is float and is_number
        ):
            raise RecipeError(f"{source}: `{name}` (={value!r}) must be of the kind of {fields[name].default!r}")
        if is_number and value < (name in _AT_LEAST_1):
            raise RecipeError(f"{source}: `{name}` (={value}) must be at least {int(name in _AT_LEAST_1)}")
        if name in _SHARES and value > 1:
            raise RecipeError(f"{source}: `{name}` (={value}) must be at most 1")
    recipe = Recipe(**values)
    if recipe.amp not in ("none", "bf16", "fp16"):
        raise RecipeError(f"{source}: `amp` (={recipe.amp}) must be none, bf16 or fp16")
    return recipe


def read(path: Path | None) -> dict[str, Any]:
    """Return the values of a YAML file, or none."""
    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise RecipeError(f"`--config` (={path}) does not exist; trainer/recipes has some") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"`{path}` is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"`{path}` must be a mapping of keys to values")
    return values


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field, such as --batch 64 and --no-compile."""
    group = parser.add_argument_group("recipe", "each overrides the recipe's value")
    for field in dataclasses.fields(Recipe):
        flag, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            group.add_argument(flag, type=kind, default=None, metavar=str(field.default))


def from_flags(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe of --config with what other flags say in its place."""
    values = read(arguments.config)
    checked(values, str(arguments.config))
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Recipe)}
    return checked({**values, **{name: value for name, value in given.items() if value is not None}}, "flags")
