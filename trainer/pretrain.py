"""Pre-train a timm model on WebDataset shards, on one CPU or many GPUs.

    # after `make dataset`, one minute on 2 cores: 47 % top-1, chance is 1 %
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
import torch.distributed as dist

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
    """A run from its start or checkpoint to its end."""

    def __init__(self, r: Recipe, o: Options, ranks: Ranks, weights: dict[str, Any] | None = None) -> None:
        self.r, self.options, self.ranks = r, o, ranks
        train_set = open_split(o, o.train_split, TrainTransform(r), r.seed, ranks)
        val_set = open_split(o, o.val_split, EvalTransform(r), r.seed, ranks)
        if names := sorted({*train_set.classes} ^ {*val_set.classes}):
            raise InputError(f"the folders of the two splits have different classes: {', '.join(names[:4])}")
        self.batches = Batches(train_set.n, r.batch, ranks.rank, ranks.world, r.seed, repeats=r.repeats)
        self.val_batches = Batches(val_set.n, r.batch, ranks.rank, ranks.world, shuffle=False)
        self.groups = self.batches.groups(r.accumulate)
        self.n_updates = len(self.groups) * r.epochs
        self.same = {  # on resume; workers only where their number changes the order
            "arch": r.model, "n_classes": train_set.n_classes, "dataset": train_set.dataset,
            "processes": ranks.world, "workers": o.workers if isinstance(train_set, Stream) else -1,
        }  # fmt: skip
        state = checkpoint.load_to_resume(o.out / "last.pt", self.same, r.model_dump()) if o.resume else {}
        self.update, self.best = state.get("update", 0), state.get("best", -1.0)
        if self.update != ranks.from_first(lambda: self.update):
            raise InputError(f"`--out` (={o.out}) must be shared by all machines: their last.pt differ")
        epoch, group = divmod(self.update, len(self.groups))
        self.batches.start = epoch * self.batches.steps + self.groups[group].start
        seed_all(r.seed)
        net = build_model(r, train_set.n_classes, weights)
        self.learner = Learner(r, net, self.n_updates, round(len(self.groups) * r.warmup), ranks)
        for name, part in self.learner.parts.items() if state else ():
            part.load_state_dict(state[name])
        self.log = Log(o.out, ranks.rank == 0, r.epochs, self.n_updates, self.update, state.get("log_bytes", 0))
        pin = ranks.device.type == "cuda"
        self.images = self.log.timed(loader(train_set, self.batches, o.workers, pin))
        self.val_images = loader(val_set, self.val_batches, min(o.workers, 2), pin)
        self.signals: list[int] = []

    def train(self) -> int:
        """Train to the end or until a signal; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self.signals.append(number))
        n_groups, save_every = len(self.groups), self.options.save_every
        self.learner.net.train()
        if self.update and self.update % n_groups == 0:
            self.validate()  # its checkpoint was written before
        while self.update < self.n_updates:
            steps = self.groups[self.update % n_groups]
            loss = self.learner.learn(self.update, steps, self.batches, self.images)
            self.log.n_images += sum(self.batches.total(step) for step in steps)
            self.update += 1
            stops, ends_epoch = self.ranks.any(bool(self.signals)), self.update % n_groups == 0
            logs = ends_epoch or self.update % self.options.log_every == 0
            saves = ends_epoch or stops or (save_every and self.update % save_every == 0)
            if logs or saves:
                self.check(loss, logs)
            if saves:
                self.save("last.pt")
            if stops:
                return 128 + (self.signals or [signal.SIGTERM])[0]
            if ends_epoch:
                self.validate()
        self.finish()
        return 0

    def check(self, loss: torch.Tensor, logs: bool) -> None:
        """Log the mean loss, which must be finite."""
        if self.ranks.world > 1:
            dist.all_reduce(loss)
        value = loss.item() / self.ranks.world
        if not math.isfinite(value):
            raise InputError(f"the loss is {value} at update {self.update}; lower --lr, or give --clip 1")
        if logs:
            self.log.training(self.update, value, self.learner.optimizer.param_groups[0]["lr"])

    def validate(self) -> None:
        """Validate after an epoch; write best.pt and checkpoints to keep."""
        epoch = self.update // len(self.groups)
        if self.r.keep_every and epoch % self.r.keep_every == 0:
            self.save(f"epoch-{epoch:04}.pt")
        if epoch % self.options.val_every == 0 or epoch == self.r.epochs:
            scores = self.learner.validate(self.val_batches, self.val_images)
            if scores["top1"] > self.best:
                self.best = scores["top1"]
                self.save("best.pt")  # like all checkpoints before the record, so that resuming from it validates again
            self.log.write("validation", self.update, scores)

    def save(self, name: str) -> None:
        """Write a checkpoint on rank 0."""
        if self.ranks.rank == 0:
            epoch, log_bytes = self.update // len(self.groups), self.log.path.stat().st_size
            values = {"update": self.update, "epoch": epoch, "best": self.best, "log_bytes": log_bytes}
            values |= {**self.same, "recipe": self.r.model_dump(), "mean": MEAN, "std": STD}
            state = {name: part.state_dict() for name, part in self.learner.parts.items()}
            checkpoint.save(self.options.out / name, values | state)

    def finish(self) -> None:
        """Export the weights, and plot the curves, on rank 0."""
        if self.ranks.rank == 0:
            values = {**self.same, "img_size": self.r.size, "mean": MEAN, "std": STD}
            path = self.options.out / "model.safetensors"
            checkpoint.export(path, self.learner.result.state_dict(), values)
            self.log.plot()
            print(f"done: {path}", file=sys.stderr)
        if self.ranks.world > 1:
            dist.barrier(self.ranks.control)


def train(r: Recipe, o: Options) -> int:
    """Train as the recipe and the options say; return the exit status."""
    if (o.out / "last.pt").exists() and not o.resume:
        raise InputError(f"`--out` (={o.out}) holds a run; give --resume to continue it, or another directory")
    weights = None
    if isinstance(o, FinetuneOptions):
        content = checkpoint.load(o.checkpoint)
        weights = content.get("state_dict_ema") or content["state_dict"]
        if "model" not in r.model_fields_set:
            r = r.model_copy(update={"model": content.get("arch", r.model)})
    ranks = join(o.device)
    locks: list[Any] = []
    ranks.from_first(lambda: locks.append(lock(o.out)))
    run = Run(r, o, ranks, weights)
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
