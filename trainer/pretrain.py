"""Pre-train any timm model on WebDataset shards, on one CPU or on many GPUs.

    # 47 % top-1 in a minute on 2 CPU cores, where chance is 1 %, after `make dataset`
    python trainer/start.py --standalone --nproc-per-node 2 trainer/pretrain.py --data data/quickstart-rcdb \\
        --config trainer/recipes/smoke.yaml --out runs/smoke
    # ViT-Tiny, as published for the 1k sets: a loss of 7.0 at first, chance being ln 1,000 = 6.9
    python trainer/start.py --standalone --nproc-per-node 8 trainer/pretrain.py --data data/ex1k --out runs/ex1k
    # ViT-B/16, as published for the 21k sets: fine-tuned, 83.8 % top-1 on ImageNet-1k (Kataoka et al., CVPR 2022)
    python trainer/start.py --nnodes 16 --node-rank 0 --master-addr HOST --nproc-per-node 8 trainer/pretrain.py \\
        --data s3://bucket/ex21k --config trainer/recipes/exfractaldb-21k-vit-b.yaml --out runs/ex21k --resume

The first number is measured, as is the second, of the first updates on two CPU processes; the third is the authors'.
start.py is torchrun, whose errors are one line; each machine has its --node-rank. The same command with --resume goes on at
the update after the last checkpoint, to the same losses.
RUN/last.pt, best.pt and model.safetensors (for timm) come out.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while torch is imported: no traceback

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from augment import (
    MEAN,
    STD,
    EvalTransform,
    OnDevice,
    TrainTransform,
)  # before timm, for which it makes torchvision ready
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3, distribute_bn

import checkpoint
from batches import Batches
from data import Folder, Images, loader, open_split
from info import DataError
from launch import Place, Stop, crash, end, fail, hold, interrupt, is_lost, join, leave, lost, seed_all
from log import Log, Progress
from models import build_model
from recipe import Recipe, RecipeError, parse
from stream import Stream


AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
SMALLER = "halve --batch and double --accumulate"
NO_MEMORY = f"the GPU has too little memory: {SMALLER}, or give --amp bf16"


class Learner:
    """A model of timm, and all that changes its weights.

    What is random of a step is a function of (seed, update, step, rank), so that there is no state of it to be kept.
    """

    def __init__(self, r: Recipe, net: Any, n_updates: int, n_warmup: int, place: Place) -> None:
        device = place.device
        self.r, self.place = r, place
        self.memory_format = torch.channels_last if r.channels_last else torch.contiguous_format
        self.net: torch.nn.Module = net.to(device, memory_format=self.memory_format)
        peak = r.lr * (r.batch * place.world * r.accumulate / r.lr_scale_batch if r.lr_scale_batch else 1.0)
        self.optimizer = create_optimizer_v2(net, "adamw", lr=peak, weight_decay=r.weight_decay)
        self.scheduler = CosineLRScheduler(
            self.optimizer, n_updates, r.min_lr, warmup_t=n_warmup, warmup_lr_init=r.warmup_lr, t_in_epochs=False
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=r.amp == "fp16")
        self.ema = ModelEmaV3(net, decay=r.ema) if r.ema else None
        self.on_device = OnDevice(net.num_classes, device, r.smoothing, r.mixup, r.cutmix, r.erasing)
        self.amp = functools.partial(torch.autocast, device.type, AMP.get(r.amp), enabled=r.amp in AMP)
        on_all: Any = net
        if place.world > 1:
            on_all = DistributedDataParallel(net, device_ids=[device.index] if device.type == "cuda" else None)
        self.unsynced = on_all.no_sync if place.world > 1 else contextlib.nullcontext
        self.forward: Any = torch.compile(on_all) if r.compile else on_all

    @property
    def result(self) -> torch.nn.Module:
        """The model that is validated and exported: the average, if there is one."""
        return self.ema.module if self.ema else self.net

    def learn(
        self, update: int, steps: range, batches: Batches, images: Iterator[Any], progress: Progress
    ) -> torch.Tensor:
        """Make an update of some steps; return the loss, whose mean over ranks is the mean over all their samples."""
        self.scheduler.step_update(update)
        total = torch.zeros((), device=self.place.device)
        for step in steps:
            with progress.waiting():
                pixels, labels = next(images)
            seed_all(self.r.seed, update, step, self.place.rank)
            with contextlib.nullcontext() if step == steps[-1] else self.unsynced():
                loss = self.loss(pixels, labels, batches.count(step)) * batches.weight(step, steps)
                self.scaler.scale(loss).backward()
            total += loss.detach()
            progress.seen += batches.total(step)
        if self.r.clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.r.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.net, step=update + 1)
        return total

    def loss(self, images: torch.Tensor, labels: torch.Tensor, n: int) -> torch.Tensor:
        """Return the mean cross-entropy of the first n of a batch, augmented on the device, with its soft targets."""
        device = self.place.device
        x, targets = self.on_device(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
        with self.amp():
            output = self.forward(x.contiguous(memory_format=self.memory_format))
            return torch.sum(-targets * torch.log_softmax(output.float(), dim=-1), dim=-1)[:n].sum() / max(n, 1)

    @torch.no_grad()
    def validate(self, batches: Batches, images: Iterator[Any]) -> dict[str, float]:
        """Return the top-1, top-5 and loss over all samples of a split, each counted once."""
        device = self.place.device
        if self.place.world > 1:  # ranks have their own running means of batch norm: the first one's from now on
            for each in (self.net, self.ema.module) if self.ema else (self.net,):
                distribute_bn(each, self.place.world)
        model = self.result.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for step in range(batches.steps):
            x, labels = (each.to(device, non_blocking=True) for each in next(images))
            n = batches.count(step)
            with self.amp():
                output = model(self.on_device.normalised(x)).float()[:n]
            labels = labels[:n]
            best = output.topk(min(5, output.shape[1]), dim=1).indices == labels[:, None]
            loss = torch.nn.functional.cross_entropy(output, labels, reduction="sum")
            sums += torch.stack([best[:, 0].sum(), best.any(dim=1).sum(), loss]).double()
        if self.place.world > 1:
            dist.all_reduce(sums)
        top1, top5, loss = (sums / batches.n).tolist()
        model.train()
        return {"top1": 100 * top1, "top5": 100 * top5, "loss": loss}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {
            "state_dict": self.net.state_dict(), "ema": self.ema.module.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
        }  # fmt: skip

    def load_state(self, there: dict[str, Any], path: Path) -> None:
        """Take the state of a checkpoint."""
        checkpoint.load_weights(self.net, there["state_dict"], path)
        if self.ema:
            self.ema.module.load_state_dict(there["ema"])
        self.optimizer.load_state_dict(there["optimizer"])
        self.scheduler.load_state_dict(there["scheduler"])
        if there["scaler"]:
            self.scaler.load_state_dict(there["scaler"])


class Run:
    """A run, from its start, from the weights of a checkpoint, or from OUT/last.pt on; and how far it is."""

    def __init__(
        self, r: Recipe, arguments: argparse.Namespace, place: Place, start: dict[str, Any] | None = None
    ) -> None:
        self.r, self.arguments, self.place, self.out = r, arguments, place, arguments.out
        train_set, val_set = self._open()
        self.batches = Batches(train_set.n, r.batch, place.rank, place.world, r.seed, repeats=r.repeats)
        self.val_batches = Batches(val_set.n, r.batch, place.rank, place.world, shuffle=False)
        self.groups = self.batches.groups(r.accumulate)
        self.n_updates = len(self.groups) * r.epochs
        there = self._go_on()
        if self.update < self.n_updates:
            epoch, group = divmod(self.update, len(self.groups))
            self.batches.start = epoch * self.batches.steps + self.groups[group].start
        seed_all(r.seed)
        net = build_model(r, train_set.n_classes)
        if start:
            checkpoint.load_weights(net, start.get("ema") or start["state_dict"], arguments.checkpoint, new_head=True)
            start.clear()
        workers, pin = arguments.workers, place.device.type == "cuda"
        self.images = loader(train_set, self.batches, workers, pin)
        self.val_images = loader(val_set, self.val_batches, min(workers, 2), pin)
        self.learner = Learner(r, net, self.n_updates, round(len(self.groups) * r.warmup), place)
        if there:
            self.learner.load_state(there, self.last)
        self.log = Log(self.out, place.is_first, self.update)
        self.progress, self.stop = Progress(self.log, r.epochs, len(self.groups), self.update), Stop()

    def _open(self) -> tuple[Images | Stream, Images | Stream]:
        """Return the images to train on and those to validate on."""
        r, a, size = self.r, self.arguments, self.r.size
        transform = TrainTransform(size, (r.crop_scale, 1.0), r.flip, r.randaugment)
        train_set = open_split(a.data, a.train_split, a.classes, self.out, transform, r.seed, self.place)
        val_set = open_split(a.data, a.val_split, a.classes, self.out, EvalTransform(size, r.eval_crop), 0, self.place)
        if isinstance(train_set, Folder) and isinstance(val_set, Folder):
            train_set.must_have_the_classes_of(val_set)
        self.dataset, self.n_classes = train_set.dataset, train_set.n_classes
        self.what = {
            "number of classes": self.n_classes, "dataset": self.dataset[:16], "number of processes": self.place.world,
            "number of loader workers": a.workers if isinstance(train_set, Stream) else "any",
        }  # fmt: skip
        return train_set, val_set

    def _go_on(self) -> dict[str, Any] | None:
        """Return the checkpoint to go on from, if there is one, and set how far it is."""
        self.update, self.best, self.is_validated, there = 0, -1.0, True, None
        if self.arguments.resume and self.last.exists():
            there = checkpoint.resumable(self.last, dataclasses.asdict(self.r), self.what)
            self.update, self.best, self.is_validated = there["update"], there["best"], there["is_validated"]
        if self.update != self.place.from_first(self.update):
            raise DataError(
                f"`--out` (={self.out}) must be on a disk that all machines share: not all have the same last.pt"
            )
        return there

    @property
    def last(self) -> Path:
        return self.out / "last.pt"

    @property
    def is_epoch(self) -> bool:
        """Whether an epoch has just ended."""
        return self.update % len(self.groups) == 0

    def train(self) -> None:
        """Train to the end, or until the run is asked to stop."""
        self.learner.net.train()
        if not self.is_validated:
            self.end_epoch()
        while self.update < self.n_updates:
            steps = self.groups[self.update % len(self.groups)]
            loss = self.learner.learn(self.update, steps, self.batches, self.images, self.progress)
            self.update += 1
            saves = self.arguments.save_every > 0 and self.update % self.arguments.save_every == 0
            is_due = (
                self.update % self.arguments.log_every == 0 or self.is_epoch or saves or self.stop.is_due(self.place)
            )
            if is_due and self.tell(loss):
                self.is_validated = not self.is_epoch
                self.save("last.pt")
                said = f"stopped after update {self.update:,}, which is saved; the same command with --resume goes on"
                leave(self.place, said, self.stop.status)
            if self.is_epoch:
                self.end_epoch()
            elif saves:
                self.save("last.pt")
        self.end()

    def tell(self, loss: torch.Tensor) -> bool:
        """Log an update's loss; return whether any process was asked to stop."""
        told = torch.stack([loss, torch.tensor(float(self.stop.is_asked), device=loss.device)])
        if self.place.world > 1:
            dist.all_reduce(told)
        value = told[0].item() / self.place.world
        if not math.isfinite(value):
            raise DataError(
                f"the loss is {value} at update {self.update}: begin anew with a lower --lr, a longer --warmup, or --clip 1"
            )
        self.progress.tell(self.update, value, self.learner.optimizer.param_groups[0]["lr"])
        return told[1].item() > 0

    def end_epoch(self) -> None:
        """Validate, and write all checkpoints of the end of an epoch."""
        epoch, is_best, self.is_validated = self.update // len(self.groups), False, True
        if epoch % self.arguments.val_every == 0 or self.update == self.n_updates:
            found = self.learner.validate(self.val_batches, self.val_images)
            self.progress.tell_validation(self.update, found)
            self.best, is_best = max(self.best, found["top1"]), found["top1"] > self.best
        if is_best:
            self.save("best.pt")
        if self.r.keep_every and epoch % self.r.keep_every == 0:
            self.save(f"epoch-{epoch:04}.pt")
        self.save("last.pt")

    def save(self, name: str) -> None:
        """Write a checkpoint; the first process does."""
        if self.place.is_first:
            how_far = {"update": self.update, "epoch": self.update // len(self.groups), "best": self.best}
            what = {"arch": self.r.model, "n_classes": self.n_classes, "what": self.what, "mean": MEAN, "std": STD}
            of_run = {"recipe": dataclasses.asdict(self.r), "is_validated": self.is_validated}
            checkpoint.save(self.out / name, {**what, **of_run, **how_far, **self.learner.state()})

    def end(self) -> None:
        """Export the weights, and plot the curves."""
        if self.place.is_first:
            what = {"arch": self.r.model, "n_classes": self.n_classes, "img_size": self.r.size, "dataset": self.dataset}
            state = self.learner.result.state_dict()
            checkpoint.export(self.out / "model.safetensors", state, {**what, "mean": MEAN, "std": STD})
        self.log.close()
        where = self.out / "model.safetensors"
        self.log.say(f"done: {where} for timm; last.pt, best.pt and curves.png beside it", last=True)
        if self.place.world > 1:
            dist.barrier()


def run(text: str = __doc__, fine_tunes: bool = False) -> None:
    """Train as the command line says, or say in one line why not."""
    signal.signal(signal.SIGINT, interrupt)
    place = None
    try:
        r, arguments = parse(text, fine_tunes)
        if (arguments.out / "last.pt").exists() and not arguments.resume:
            fail(f"`--out` (={arguments.out}) holds a run; give --resume to go on with it, or another directory")
        start = checkpoint.load(arguments.checkpoint) if fine_tunes else None
        if start and "arch" in start and arguments.model is None:
            r = dataclasses.replace(r, model=start["arch"])
        place = join(arguments.device)
        lock = hold(arguments.out) if place.is_first else None  # noqa: F841 as long as the process lives
        Run(r, arguments, place, start).train()
    except (DataError, RecipeError, checkpoint.CheckpointError) as error:
        fail(str(error))
    except torch.cuda.OutOfMemoryError:
        fail(NO_MEMORY)
    except KeyboardInterrupt:
        if place and not place.is_first:
            end(1)
        fail("interrupted; the same command with --resume goes on from the last checkpoint, if there is one")
    except OSError as error:
        fail(str(error) or repr(error))
    except Exception as error:
        if "DefaultCPUAllocator" in str(error):
            fail(f"this machine has too little memory: {SMALLER}")
        if "DataLoader worker (pid" in str(error):
            fail(f"{error}; most often for want of memory: give fewer --workers")
        if "out of memory" in str(error) or "ALLOC_FAILED" in str(error):
            fail(NO_MEMORY)
        if is_lost(error):
            lost()
        crash()
    end(0)


if __name__ == "__main__":
    run()
