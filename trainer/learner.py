"""Model, optimizer and schedule: the updates and the validation."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import timm
import torch
import yaml
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3, distribute_bn
from torch.nn.parallel import DistributedDataParallel

from trainer.batches import Batches
from trainer.checkpoint import Checkpoint
from trainer.errors import InputError, one_line
from trainer.images import OnDevice, seed_all
from trainer.ranks import Ranks
from trainer.recipe import Recipe

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def build_model(recipe: Recipe, n_classes: int, weights: dict[str, torch.Tensor] | None = None) -> torch.nn.Module:
    """Build a timm model of the recipe's image size.

    weights : of a checkpoint; timm loads all but the head's, and resizes position embeddings.
    """
    overlay = {"state_dict": weights, "num_classes": -1, "custom_load": False} if weights else None
    try:
        config = timm.get_pretrained_cfg(recipe.model)
        net: Any = timm.create_model(  # which leaves out what is None
            recipe.model, num_classes=n_classes, pretrained=bool(weights), pretrained_cfg_overlay=overlay,
            drop_path_rate=recipe.drop_path or None, img_size=recipe.size if config and config.fixed_input_size else None,
            **(yaml.safe_load(recipe.model_args) or {}),
        )  # fmt: skip
    except Exception as error:  # timm and torch raise many kinds, of names and of weights
        raise InputError(f"`--model` (={recipe.model}) cannot be built: {one_line(error)}") from None
    if weights:
        classifier = net.pretrained_cfg.get("classifier") or ()
        head = tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier))
        names = sorted(name for name in net.state_dict().keys() ^ weights.keys() if not name.startswith(head))
        if names:  # timm loads the others
            only = f"only one has {', '.join(names[:4])}"
            raise InputError(f"`--checkpoint` is of another architecture than {recipe.model}: {only}")
        del net.pretrained_cfg["state_dict"]
    if recipe.freeze:
        net.requires_grad_(False)
        net.get_classifier().requires_grad_(True)
    return net


class Learner:
    """A timm model and everything that changes its weights.

    The randomness of a step depends on (seed, update, block), so a checkpoint needs no random states.
    """

    def __init__(self, recipe: Recipe, net: Any, n_updates: int, n_warmup: int, ranks: Ranks) -> None:
        device = ranks.device
        self.recipe, self.ranks = recipe, ranks
        self.memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.net: torch.nn.Module = net.to(device, memory_format=self.memory_format)
        self.optimizer = create_optimizer_v2(net, "adamw", lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.scheduler = CosineLRScheduler(
            self.optimizer, n_updates, recipe.min_lr, warmup_t=n_warmup, warmup_lr_init=recipe.warmup_lr,
            t_in_epochs=False,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.amp == "fp16")
        self.ema = ModelEmaV3(net, decay=recipe.ema) if recipe.ema else None
        self.result: torch.nn.Module = self.ema.module if self.ema else net  # to validate and export
        self.parts = {
            "state_dict": net, "optimizer": self.optimizer, "scaler": self.scaler,
            **({"state_dict_ema": self.ema.module} if self.ema else {}),
        }  # fmt: skip
        self.net.train(not recipe.freeze)  # a frozen network keeps its running means, and drops no path
        self.on_device = OnDevice(recipe, net.num_classes, device)
        self.amp = functools.partial(torch.autocast, device.type, AMP.get(recipe.amp), enabled=recipe.amp in AMP)
        self.unsynced, self.forward = contextlib.nullcontext, net
        if ranks.world_size > 1:
            self.forward = DistributedDataParallel(net, device_ids=[device.index] if device.type == "cuda" else None)
            self.unsynced = self.forward.no_sync
        if recipe.compile:
            self.forward = torch.compile(self.forward)

    def restore(self, saved: Checkpoint) -> None:
        """Load a checkpoint's tensors; hyper-parameters are the recipe's."""
        try:
            moments = {"state": saved.optimizer["state"], "param_groups": self.optimizer.state_dict()["param_groups"]}
            for name, part in self.parts.items():
                part.load_state_dict(moments if part is self.optimizer else getattr(saved, name))
            for weight, values in self.optimizer.state.items():
                shapes = {"step": (), "exp_avg": weight.shape, "exp_avg_sq": weight.shape}
                if {name: tensor.shape for name, tensor in values.items()} != shapes:
                    raise ValueError("moments of AdamW with other shapes")
        except Exception as error:  # torch raises many kinds
            raise InputError(f"the checkpoint's tensors do not fit this run: {one_line(error)}") from None

    def learn(self, update: int, batches: Batches, images: Iterator[Any]) -> torch.Tensor:
        """Make an update; return this rank's weighted loss."""
        self.scheduler.step_update(update)
        total = torch.zeros((), device=self.ranks.device)
        first = update % batches.updates * batches.accumulate
        for step in range(first, first + batches.accumulate):
            pixels, labels = next(images)
            seed_all(self.recipe.seed, update, batches.block(step))
            with contextlib.nullcontext() if step == first + batches.accumulate - 1 else self.unsynced():
                loss = self.loss(pixels, labels, batches.count(step)) * batches.weight(step)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.net, step=update + 1)
        return total

    def loss(self, images: torch.Tensor, labels: torch.Tensor, n: int) -> torch.Tensor:
        """Return the mean loss of the first n images."""
        device = self.ranks.device
        x, targets = self.on_device(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
        with self.amp():
            output = self.forward(x.contiguous(memory_format=self.memory_format))
            return torch.nn.functional.cross_entropy(output[:n].float(), targets[:n], reduction="sum") / max(n, 1)

    @torch.no_grad()
    def validate(self, batches: Batches, images: Iterator[Any]) -> dict[str, float]:
        """Return a split's loss and its top-1 in %.

        Of more than five classes also top-5, in %.
        """
        device, model = self.ranks.device, self.result.eval()
        if self.ranks.world_size > 1:  # all ranks take rank 0's running means of batch normalization
            distribute_bn(model, self.ranks.world_size)
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for step in range(batches.steps):
            x, labels = (tensor.to(device, non_blocking=True) for tensor in next(images))
            n = batches.count(step)
            with self.amp():
                output = model(self.on_device.normalized(x)).float()[:n]
            labels = labels[:n]
            hits = output.topk(min(5, output.shape[1]), dim=1).indices == labels[:, None]
            loss = torch.nn.functional.cross_entropy(output, labels, reduction="sum")
            sums += torch.stack([hits[:, 0].sum(), hits.any(dim=1).sum(), loss]).double()
        top1, top5, loss = (self.ranks.total(sums) / batches.n).tolist()
        model.train(not self.recipe.freeze)
        scores = {"top1": 100 * top1, "top5": 100 * top5, "loss": loss}
        return {name: scores[name] for name in scores if name != "top5" or output.shape[1] > 5}
