"""What a run is told: the command line, and the fields of Recipe, from a YAML file, from flags, or by default."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from launch import free_cores


class RecipeError(ValueError):
    """What is wrong with a recipe, in one line."""


@dataclass(frozen=True)
class Recipe:
    """The published recipe of the 1k sets, but for the model; _HELP says what the values mean."""

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


_HELP = {
    "model": "any of timm's, by name",
    "size": "of the square images that the model sees, px",
    "epochs": "passes, each of as many images as there are samples",
    "batch": "images of a process in a step",
    "accumulate": "steps to an update",
    "lr": "the highest learning rate",
    "lr_scale_batch": "images of an update at which --lr is meant, which is then scaled; 0 does not scale",
    "warmup": "epochs of linear warm-up",
    "drop_path": "stochastic depth, 0 is none",
    "randaugment": "as timm has it; empty is none",
    "crop_scale": "least share of an image that a crop takes",
    "mixup": "alpha, 0 is none",
    "cutmix": "alpha, 0 is none",
    "erasing": "share of images, 0 is none",
    "repeats": "repeated augmentation: times that an epoch takes a sample; 1 is none",
    "clip": "norm of the gradient, 0 is none",
    "ema": "decay of averaged weights, 0 is none",
    "amp": "none, bf16 or fp16",
    "compile": "by torch.compile",
    "eval_crop": "share of the shorter side that validation sees",
    "keep_every": "epochs between checkpoints that stay, 0 is none",
}
_AT_LEAST_1 = ("size", "epochs", "batch", "accumulate", "repeats")
_SHARES = ("smoothing", "drop_path", "flip", "erasing", "ema", "eval_crop", "crop_scale")
_CROPS = ("eval_crop", "crop_scale")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_AMP = ("none", "bf16", "fp16")


def checked(values: dict[str, Any], source: str) -> Recipe:
    """Return a recipe of some values, the others by default; RecipeError names the key, its value and the rule."""
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    for name, value in values.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1)
            raise RecipeError(
                f"{source}: `{name}` is no key of a recipe;"
                + (f" did you mean {near[0]}?" if near else f" they are {', '.join(fields)}")
            )
        kind = type(fields[name].default)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (isinstance(value, kind) and isinstance(value, bool) == (kind is bool)) and not (
            kind is float and is_number
        ):
            hint = "; 1e-3 is text in YAML, 1.0e-3 a number" if kind is float and isinstance(value, str) else ""
            raise RecipeError(f"{source}: `{name}` (={value!r}) must be {_KINDS[kind]}{hint}")
        least = int(name in _AT_LEAST_1)
        if is_number and not least <= value < math.inf:
            raise RecipeError(f"{source}: `{name}` (={value}) must be at least {least}, and finite")
        if name in _SHARES and value > 1:
            raise RecipeError(f"{source}: `{name}` (={value}) must be at most 1")
        if name in _CROPS and value == 0:
            raise RecipeError(f"{source}: `{name}` (={value}) must be more than 0")
    return Recipe(**values)


def whole(recipe: Recipe) -> Recipe:
    """Return a recipe whose keys fit together."""
    if recipe.amp not in _AMP:
        raise RecipeError(f"`amp` (={recipe.amp}) must be one of {', '.join(_AMP)}")
    if recipe.warmup > recipe.epochs:
        raise RecipeError(
            f"`warmup` (={recipe.warmup:g}) must be at most `epochs` (={recipe.epochs}); give --warmup, too"
        )
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


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a whole number of a flag that must not be less."""

    def number(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"(={text}) must be a whole number, at least {least}")
        return int(text)

    return number


def _refuse(message: str) -> NoReturn:
    raise RecipeError(message)


def parse(text: str, fine_tunes: bool = False) -> tuple[Recipe, argparse.Namespace]:
    """Return what the command line says; `text` is what --help begins with."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = _refuse  # type: ignore[method-assign] # one line, without the usage
    add = parser.add_argument
    add(
        "--data",
        required=True,
        help="a directory of shards with _info.json, a URL of one (http://..., s3://..., pipe:COMMAND with {} for a"
        " file's name), or a directory of image folders",
    )
    if fine_tunes:
        add("--checkpoint", type=Path, required=True, help="last.pt, best.pt or model.safetensors of a run")
    add("--out", type=Path, required=True, help="the run's directory: checkpoints, logs, curves")
    add("--config", type=Path, help="a recipe, YAML")
    add("--resume", action="store_true", help="go on from OUT/last.pt if it is there")
    add(
        "--workers",
        type=at_least(0),
        default=max(1, free_cores() - 1),
        help="loader processes of each process [%(default)s]",
    )
    add("--device", choices=["auto", "cuda", "cpu"], default="auto")
    add("--classes", type=at_least(1), help="how many there are, where _info.json has no num_classes")
    add("--train-split", default="train", help="its name [%(default)s]")
    add("--val-split", default="validation", help="its name [%(default)s]")
    add("--val-every", default=1, metavar="EPOCHS", type=at_least(1), help="[%(default)s]")
    add("--log-every", default=20, metavar="UPDATES", type=at_least(1), help="[%(default)s]")
    add("--save-every", type=at_least(0), default=500, metavar="UPDATES", help="besides every epoch; 0 is never [500]")
    _add_flags(parser)
    arguments = parser.parse_args()
    return _from_flags(arguments), arguments


def _add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field, such as --batch 64 and --no-compile."""
    group = parser.add_argument_group("recipe", "each overrides the recipe's value, or the default, in brackets")
    for field in dataclasses.fields(Recipe):
        flag, kind = f"--{field.name.replace('_', '-')}", type(field.default)
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=_HELP.get(field.name))
        else:
            said = f"{_HELP.get(field.name, '')} [{field.default if field.default != '' else 'none'}]".strip()
            group.add_argument(flag, type=kind, default=None, metavar=kind.__name__.upper(), help=said)


def _from_flags(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe of --config with what other flags say in its place; where neither does, `arguments.model` is None."""
    values = read(arguments.config)
    checked(values, str(arguments.config))
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Recipe)}
    flags = {name: value for name, value in given.items() if value is not None}
    checked(flags, "flags")
    arguments.model = {**values, **flags}.get("model")
    return whole(checked({**values, **flags}, "flags"))
