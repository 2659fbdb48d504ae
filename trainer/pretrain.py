"""Pre-train a timm model on CPUs or GPUs.

    # after `make dataset`, one minute on 2 cores: 48 % top-1, chance is 1 %
    torchrun --standalone --nproc-per-node 2 -m trainer.pretrain --data data/quickstart-rcdb --config smoke --out runs/1
    # ViT-B on ExFractalDB-21k, the published recipe: 16 machines, each with its --node-rank
    torchrun --nnodes 16 --node-rank 0 --master-addr HOST --nproc-per-node 8 -m trainer.pretrain \\
        --data s3://bucket/ex21k --config exfractaldb-21k-vit-b --out runs/ex21k --resume

`python -m trainer.pretrain` is one process. The same command with --resume continues after the last checkpoint.
Writes last.pt, best.pt, log.jsonl, curves.png, and model.safetensors for timm.
"""

import math
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import torch

from trainer import checkpoint
from trainer.batches import Batches
from trainer.data import Stream, loader, open_split
from trainer.errors import InputError, report
from trainer.images import MEAN, STD, EvalTransform, TrainTransform, seed_all
from trainer.learner import Learner, build_model
from trainer.log import Log
from trainer.ranks import Ranks, join, lock
from trainer.recipe import FinetuneOptions, Options, Recipe, parse


class Run:
    """A run, from start or checkpoint to end."""

    def __init__(self, recipe: Recipe, options: Options, ranks: Ranks, weights: dict[str, Any] | None = None) -> None:
        self.recipe, self.options, self.ranks = recipe, options, ranks
        train_set = open_split(options, options.train_split, TrainTransform(recipe), recipe.seed, ranks)
        val_set = open_split(options, options.val_split, EvalTransform(recipe), recipe.seed, ranks)
        if names := sorted({*train_set.classes} ^ {*val_set.classes}):
            raise InputError(f"the folders of the two splits have different classes: {', '.join(names[:4])}")
        self.batches = Batches(
            train_set.n, recipe.batch, ranks.rank, ranks.world_size, recipe.seed, repeats=recipe.repeats,
            accumulate=recipe.accumulate,
        )  # fmt: skip
        self.val_batches = Batches(val_set.n, recipe.batch, ranks.rank, ranks.world_size, shuffle=False)
        self.n_updates = self.batches.updates * recipe.epochs
        self.same = {  # on resume
            "arch": recipe.model, "n_classes": train_set.n_classes, "dataset": train_set.dataset,
            "images_per_update": self.batches.images_per_update, "processes": ranks.world_size, "workers": options.workers,
        }  # fmt: skip
        last, every = options.out / "last.pt", self.batches.updates if isinstance(train_set, Stream) else 1
        saved = checkpoint.load_to_resume(last, self.same, recipe.model_dump(), every) if options.resume else None
        self.update, self.best = (saved.update, saved.best) if saved else (0, -1.0)
        if self.update > self.n_updates:
            raise InputError(f"`{last}` has update {self.update:,} of {self.n_updates:,}; give another --out")
        if self.update != ranks.from_first(lambda: self.update):
            raise InputError(f"`--out` (={options.out}) must be shared by all machines: their last.pt differ")
        self.batches.start = self.update * recipe.accumulate
        seed_all(recipe.seed)
        net = build_model(recipe, train_set.n_classes, weights)
        self.learner = Learner(recipe, net, self.n_updates, round(self.batches.updates * recipe.warmup), ranks)
        if saved:
            self.learner.restore(saved)
        n_bytes = saved.log_bytes if saved else 0
        self.log = Log(options.out, ranks.rank == 0, recipe.epochs, self.n_updates, self.update, n_bytes)
        pin = ranks.device.type == "cuda"
        self.images = self.log.timed(loader(train_set, self.batches, options.workers, pin))
        self.val_images = loader(val_set, self.val_batches, min(options.workers, 2), pin)
        self.signals: list[int] = []

    def train(self) -> int:
        """Train until the end or a signal; return status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self.signals.append(number))
        per_epoch, save_every = self.batches.updates, self.options.save_every
        if self.update and self.update % per_epoch == 0:
            self.validate()  # its checkpoint was written before
        while self.update < self.n_updates:
            loss = self.learn()
            self.log.n_images += self.batches.total(self.update % per_epoch * self.recipe.accumulate)
            self.update += 1
            stops, ends_epoch = self.ranks.any(bool(self.signals)), self.update % per_epoch == 0
            logs = ends_epoch or self.update % self.options.log_every == 0
            saves = self.validates or stops or (save_every and self.update % save_every == 0)
            if logs or saves:
                self.check(loss, logs)
            if saves:
                self.save("last.pt")
            if stops:
                return 128 + (self.signals or [signal.SIGTERM])[0]
            if ends_epoch:
                self.validate()
        self.ranks.from_first(self.export)
        return 0

    def learn(self) -> torch.Tensor:
        """Make an update, if it fits into the device's memory."""
        try:
            return self.learner.learn(self.update, self.batches, self.images)
        except torch.OutOfMemoryError:
            rule = "is too large for the device's memory; lower it, and raise --accumulate as much"
            raise InputError(f"`--batch` (={self.recipe.batch}) {rule}") from None

    def check(self, loss: torch.Tensor, logs: bool) -> None:
        """Log the mean loss, which must be finite."""
        value = self.ranks.total(loss).item() / self.ranks.world_size
        self.must_be_finite("loss", value)
        if logs:
            self.log.training(self.update, value, self.learner.optimizer.param_groups[0]["lr"])

    def must_be_finite(self, name: str, value: float) -> None:
        """Refuse a loss of weights that are lost."""
        if not math.isfinite(value):
            raise InputError(f"the {name} is {value} at update {self.update}; lower --lr, or give --clip 1")

    @property
    def validates(self) -> bool:
        """Whether this update ends an epoch after which to validate."""
        epoch, rest = divmod(self.update, self.batches.updates)
        return rest == 0 and (epoch % self.options.val_every == 0 or epoch == self.recipe.epochs)

    def validate(self) -> None:
        """Validate after an epoch; write checkpoints to keep."""
        epoch = self.update // self.batches.updates
        if self.recipe.keep_every and epoch % self.recipe.keep_every == 0:
            self.save(f"epoch-{epoch:04}.pt")
        if self.validates:
            scores = self.learner.validate(self.val_batches, self.val_images)
            self.must_be_finite("validation loss", scores["loss"])
            if scores["top1"] > self.best:
                self.best = scores["top1"]
                self.save("best.pt")  # like all checkpoints before the record, so that resuming from it validates again
            self.log.write("validation", self.update, scores)

    def save(self, name: str) -> None:
        """Write a checkpoint on rank 0."""
        if self.ranks.rank == 0:
            epoch, log_bytes = self.update // self.batches.updates, self.log.path.stat().st_size
            values: dict[str, Any] = {"update": self.update, "epoch": epoch, "best": self.best, "log_bytes": log_bytes}
            values |= {**self.same, "recipe": self.recipe.model_dump(), "mean": MEAN, "std": STD}
            state = {name: part.state_dict() for name, part in self.learner.parts.items()}
            checkpoint.save(self.options.out / name, values | state)

    def export(self) -> None:
        """Export the weights and plot the curves."""
        path = self.options.out / "model.safetensors"
        metadata = {**self.same, "img_size": self.recipe.size, "mean": MEAN, "std": STD}
        checkpoint.export(path, self.learner.result.state_dict(), metadata)
        self.log.plot()
        print(f"done: {path}", file=sys.stderr)


def train(recipe: Recipe, options: Options) -> int:
    """Train a run; return the exit status."""
    if (options.out / "last.pt").exists() and not options.resume:
        raise InputError(f"`--out` (={options.out}) holds a run; give --resume to continue it, or another directory")
    weights = None
    if isinstance(options, FinetuneOptions):
        content = checkpoint.load(options.checkpoint)
        weights = content.state_dict_ema or content.state_dict
        if "model" not in recipe.model_fields_set:
            recipe = recipe.model_copy(update={"model": content.arch or recipe.model})
    ranks = join(options.device)
    locks: list[Any] = []
    ranks.from_first(lambda: locks.append(lock(options.out)))
    run = Run(recipe, options, ranks, weights)
    status = run.train()
    if locks and status:
        print(f"trainer: stopped after update {run.update:,}; continue with --resume", file=sys.stderr)
    return status


def main(options: type[Options] = Options, name: str = "pretrain", description: str = __doc__) -> NoReturn:
    """Train as the command line says; exit.

    Exits without waiting for loader workers, which ignore signals, and for gloo, which can abort at exit.
    """
    status = 1
    try:
        status = train(*parse(options, name, description))
    except SystemExit as error:  # of argparse, or of a rank whose error rank 0 reports
        status = int(error.code or 0)
    except (InputError, OSError) as error:
        report(error)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
