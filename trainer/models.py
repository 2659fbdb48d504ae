"""Any model of timm, by its name."""

from __future__ import annotations

import difflib
from typing import Any

import torch
import augment  # noqa: F401 makes torchvision ready for timm
import timm

from info import DataError
from recipe import Recipe


def build_model(r: Recipe, n_classes: int) -> torch.nn.Module:
    """Return a timm model by name for square images of the recipe's size."""
    if not timm.is_model(r.model):
        near = ", ".join(difflib.get_close_matches(r.model, timm.list_models(), 4)) or "deit_tiny_patch16_224"
        raise DataError(f"`--model` (={r.model}) is no model of timm {timm.__version__}; near it are {near}")
    options: dict[str, Any] = {"drop_path_rate": r.drop_path} if r.drop_path else {}
    config = timm.get_pretrained_cfg(r.model)
    if config and config.fixed_input_size and config.input_size[-1] != r.size:
        options["img_size"] = r.size
    try:
        net = timm.create_model(r.model, num_classes=n_classes, **options)
    except TypeError as error:
        raise DataError(f"`--model` (={r.model}) does not take {', '.join(options)}: {error}") from None
    _must_take(net, r)
    return net


@torch.no_grad()
def _must_take(net: torch.nn.Module, r: Recipe) -> None:
    """Refuse a model that does not take images of the recipe's size, by showing it one."""
    try:
        net.eval()(torch.zeros(1, 3, r.size, r.size))
    except (AssertionError, RuntimeError) as error:
        if "DefaultCPUAllocator" in str(error):
            raise
        reason = str(error).split("\n")[0]
        raise DataError(f"`--size` (={r.size}) does not suit `--model` (={r.model}): {reason}") from None
    net.train()
