"""Recipe and options of a run."""

import argparse
import contextlib
import os
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from trainer.errors import InputError, explain, one_line

RECIPES = Path(__file__).with_name("recipes")


class Recipe(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """Training recipe; by default the published one, on ViT-Tiny."""

    model: str = Field("deit_tiny_patch16_224", description="timm model")
    model_args: str = Field("", description="arguments of the model, as YAML: {patch_size: 8, depth: 6}")
    size: int = Field(224, ge=1, description="side of the square images, px")
    epochs: int = Field(300, ge=1, le=10**6, description="passes over as many images as there are samples")
    batch: int = Field(64, ge=1, description="images per process and step")
    accumulate: int = Field(1, ge=1, description="steps per update")
    lr: float = Field(1e-3, ge=0, description="peak learning rate")
    warmup_lr: float = Field(1e-4, ge=0, description="learning rate of the first update")
    min_lr: float = Field(1e-5, ge=0, description="learning rate after the last update")
    warmup: float = Field(5.0, ge=0, description="epochs of linear warmup, part of the cosine schedule")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")
    smoothing: float = Field(0.1, ge=0, le=1, description="label smoothing")
    drop_path: float = Field(0.1, ge=0, le=1, description="stochastic depth; 0 is none")
    randaugment: str = Field("rand-m9-mstd0.5-inc1", description="timm's RandAugment string; empty is none")
    crop_scale: float = Field(0.08, gt=0, le=1, description="minimum area of a random crop, as a share")
    flip: float = Field(0.0, ge=0, le=1, description="probability of a horizontal flip")
    mixup: float = Field(0.8, ge=0, description="alpha; 0 is none")
    cutmix: float = Field(1.0, ge=0, description="alpha; 0 is none")
    erasing: float = Field(0.25, ge=0, le=1, description="probability of random erasing")
    repeats: int = Field(3, ge=1, le=100, description="repeated augmentation: views of a sample per epoch; 1 is none")
    freeze: bool = Field(False, description="train the head only: a linear probe")
    clip: float = Field(0.0, ge=0, description="largest norm of the gradient; 0 is none")
    ema: float = Field(0.0, ge=0, le=1, description="decay of the weights' moving average; 0 is none")
    amp: Literal["none", "bf16", "fp16"] = Field("none", description="mixed precision: none, bf16 or fp16")
    compile: bool = Field(False, description="use torch.compile")
    channels_last: bool = Field(False, description="memory format of the images and weights")
    eval_crop: float = Field(0.9, gt=0, le=1, description="part of the shorter side that validation sees")
    keep_every: int = Field(0, ge=0, description="epochs between the checkpoints that are kept; 0 keeps none")
    seed: int = Field(0, ge=0, description="of all random numbers")

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup > self.epochs:
            raise ValueError(f"`warmup` (={self.warmup:g}) must be at most `epochs` (={self.epochs}); set both")
        return self


def free_cores(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int:
    """Return cores per process, by affinity and cgroups."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)  # versions 1 and 2
        group = mount / ("cpu" if controllers else "") / path.lstrip("/")
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # no limit: no such file, or "max"
                quota, period = map(int, " ".join((folder / name).read_text() for name in names).split())
                n_cores = min(n_cores, quota // period) if quota > 0 else n_cores  # version 1 says -1
    return n_cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))


class Options(BaseModel, frozen=True):
    """Where a run reads and writes, and how often."""

    data: str = Field(
        description="directory of shards with _info.json or of image folders, URL of shards, or MODULE:ARGUMENT"
    )
    out: Path = Field(description="directory of the run: checkpoints, logs, curves")
    config: str = Field("", description="recipe: the path of a YAML file, or a name in trainer/recipes")
    resume: bool = Field(False, description="continue after OUT/last.pt if it exists")
    workers: int = Field(max(1, free_cores() - 1), ge=0, description="loader workers per process")
    device: Literal["auto", "cuda", "cpu"] = Field("auto", description="cpu, cuda, or auto: cuda where there is one")
    classes: int = Field(0, ge=0, le=10**6, description="number of classes, if _info.json lacks num_classes")
    train_split: str = Field("train", description="name of the split to train on")
    val_split: str = Field("validation", description="name of the split to validate on")
    val_every: int = Field(1, ge=1, description="epochs between validations, and between checkpoints")
    log_every: int = Field(20, ge=1, description="updates between records of the log")
    save_every: int = Field(500, ge=0, description="updates between checkpoints within an epoch; 0 saves none there")


class FinetuneOptions(Options):
    """Options of fine-tuning."""

    checkpoint: Path = Field(description="last.pt, best.pt or model.safetensors of a run")


def read_values(config: str) -> dict[str, str]:
    """Read a recipe by path or by name.

    Values stay text; pydantic converts them.
    """
    path = Path(config) if Path(config).suffix else RECIPES / f"{config}.yaml"
    try:
        return {key: str(value) for key, value in yaml.safe_load(path.read_bytes()).items()}
    except (yaml.YAMLError, AttributeError) as error:
        raise InputError(f"`{path}` is not a YAML file of keys and values: {one_line(error)}") from None


def parse(options: type[Options], name: str, description: str) -> tuple[Recipe, Options]:
    """Parse the command line into recipe and options."""
    parser = argparse.ArgumentParser(
        usage=f"python -m trainer.{name} --data DATA --out OUT [--config RECIPE] [options, see --help]",
        formatter_class=argparse.RawDescriptionHelpFormatter, description=description, allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )  # fmt: skip
    _add_flags(parser, options)
    _add_flags(parser.add_argument_group("recipe", "flags override --config, which overrides the defaults"), Recipe)
    flags = {key: str(value) for key, value in vars(parser.parse_args()).items()}
    try:
        chosen = options.model_validate_strings({key: flags.pop(key) for key in options.model_fields.keys() & flags})
        values = read_values(chosen.config) if chosen.config else {}
        return Recipe.model_validate_strings(values | flags), chosen
    except ValidationError as error:
        raise InputError(f"{error.title.lower()}: {explain(error)}") from None


def _add_flags(parser: argparse._ActionsContainer, schema: type[BaseModel]) -> None:
    """Add flags for all fields: `--batch 64`, `--no-compile`."""
    for name, field in schema.model_fields.items():
        action = argparse.BooleanOptionalAction if field.annotation is bool else "store"
        default = "" if field.is_required() or field.default == "" else f" [{field.default}]"
        flag, text = f"--{name.replace('_', '-')}", f"{field.description}{default}"
        parser.add_argument(flag, action=action, required=field.is_required(), help=text)
