"""Pre-train any timm model on WebDataset shards, on one CPU or on many GPUs.

    python trainer/pretrain.py --data data/quickstart-rcdb --config trainer/recipes/smoke.yaml --out runs/smoke
    torchrun --standalone --nproc-per-node 8 trainer/pretrain.py --data data/ex1k --out runs/ex1k
    torchrun --nnodes 16 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 trainer/pretrain.py \\
        --data data/ex21k --config trainer/recipes/exfractaldb-21k-vit-b.yaml --out runs/ex21k --resume

The same command with --resume goes on at the update after the last checkpoint, to the same losses. What the smoke recipe
reaches stands in trainer/README.md. RUN/last.pt, best.pt and model.safetensors (for timm) are what comes out.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from augment import EvalTransform, OnDevice, TrainTransform  # before timm, for which it makes torchvision ready
import timm
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3

import checkpoint
import recipe as recipes
from data import Batches, DataError, Folder, Images, Shards, allow_many_files, index_of, loader, read_split
from launch import Place, fail, join, seed_all
from log import Log, duration
from recipe import Recipe


def lr_at(update: int, total: int, warmup: int, peak: float, r: Recipe) -> float:
    """Return the learning rate of an update: linear warm-up within one cosine over all updates."""
    if update < warmup:
        return r.warmup_lr + (peak - r.warmup_lr) * update / warmup
    return r.min_lr + 0.5 * (peak - r.min_lr) * (1.0 + math.cos(math.pi * update / total))


def build_model(r: Recipe, n_classes: int) -> torch.nn.Module:
    """Return a timm model by name for square images of the recipe's size."""
    if not timm.is_model(r.model):
        near = ", ".join(timm.list_models(f"*{r.model.split('_')[0]}*")[:5]) or "deit_tiny_patch16_224"
        raise DataError(f"`--model` (={r.model}) is no model of timm {timm.__version__}; such as {near}")
    options: dict[str, Any] = {"drop_path_rate": r.drop_path} if r.drop_path else {}
    config = timm.get_pretrained_cfg(r.model)
    if config and config.fixed_input_size and config.input_size[-1] != r.size:
        options["img_size"] = r.size
    try:
        return timm.create_model(r.model, num_classes=n_classes, **options)
    except TypeError as error:
        raise DataError(f"`--model` (={r.model}) does not take {', '.join(options)}: {error}") from None


def open_images(
    arguments: argparse.Namespace, name: str, transform: Any, seed: int, place: Place
) -> tuple[Images, int, str]:
    """Return a split's images, how many classes there are, and the dataset's hash; rank 0 looks first, the others wait."""
    if not (arguments.data / "_info.json").exists() and (arguments.data / name).is_dir():
        folder = Folder(arguments.data / name, transform, seed)
        return folder, folder.n_classes, f"folder {arguments.data.resolve()}"
    split, problem = read_split(arguments.data, name), ""
    if place.is_first:
        try:
            index_of(split, arguments.out, build=True)
        except DataError as error:
            problem = str(error)
    if place.world > 1:
        said = [problem]
        dist.broadcast_object_list(said, device=place.device)
        problem = said[0]
    if problem:
        raise DataError(problem)
    return Shards(split, index_of(split, arguments.out, build=False), transform, seed), split.n_classes, split.spec_hash


@torch.no_grad()
def validate(
    model: torch.nn.Module, batches: Batches, images: Any, on_device: OnDevice, place: Place, amp: Any
) -> dict[str, float]:
    """Return the top-1, top-5 and loss over all samples of a split, each counted once."""
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=place.device)
    for step in range(batches.steps):
        x, labels = (each.to(place.device) for each in next(images))
        n = batches.count(step)
        with amp():
            output = model(on_device.normalised(x)).float()[:n]
        labels = labels[:n]
        best = output.topk(min(5, output.shape[1]), dim=1).indices == labels[:, None]
        loss = torch.nn.functional.cross_entropy(output, labels, reduction="sum")
        sums += torch.stack(
            [best[:, 0].sum(), best.any(dim=1).sum(), loss, torch.tensor(n, device=place.device)]
        ).double()
    if place.world > 1:
        dist.all_reduce(sums)
    top1, top5, loss, n = sums.tolist()
    model.train()
    return {"top1": 100 * top1 / n, "top5": 100 * top5 / n, "loss": loss / n}


def train(
    r: Recipe, arguments: argparse.Namespace, place: Place, start: dict[str, Any] | None = None
) -> dict[str, float]:
    """Train from the start, from the weights of a checkpoint, or from RUN/last.pt on; return the last validation."""
    out, device = arguments.out, place.device
    allow_many_files()
    transform = TrainTransform(r.size, (r.crop_scale, 1.0), r.flip, r.randaugment)
    train_set, n_classes, dataset = open_images(arguments, arguments.train_split, transform, r.seed, place)
    train_batches = Batches(len(train_set), r.batch, place.rank, place.world, r.seed, repeats=r.repeats)
    val_set, _, _ = open_images(arguments, arguments.val_split, EvalTransform(r.size, r.eval_crop), 0, place)
    val_batches = Batches(len(val_set), r.batch, place.rank, place.world, shuffle=False)

    seed_all(r.seed)
    net = build_model(r, n_classes)
    if start:
        checkpoint.load_weights(net, start["state_dict"], arguments.checkpoint, new_head=True)
    net = net.to(device)
    memory = torch.channels_last if r.channels_last else torch.contiguous_format
    net = net.to(memory_format=memory)
    peak = r.lr * (r.batch * place.world * r.accumulate / r.lr_scale_batch if r.lr_scale_batch else 1.0)
    optimizer = create_optimizer_v2(net, "adamw", lr=peak, weight_decay=r.weight_decay)
    ema = ModelEmaV3(net, decay=r.ema) if r.ema else None
    on_device = OnDevice(n_classes, device, r.smoothing, r.mixup, r.cutmix, r.erasing)

    groups = [range(k, min(k + r.accumulate, train_batches.steps)) for k in range(0, train_batches.steps, r.accumulate)]
    total, warmup = len(groups) * r.epochs, round(len(groups) * r.warmup)
    update, best = 0, -1.0
    if arguments.resume and (out / "last.pt").exists():
        update, best = checkpoint.resume(
            out / "last.pt", dataclasses.asdict(r), n_classes, dataset, net, optimizer, ema
        )
    epoch, first_group = divmod(update, len(groups))
    train_batches.start = epoch * train_batches.steps + groups[first_group].start
    train_images = loader(train_set, train_batches, arguments.workers, device.type == "cuda")
    val_images = loader(val_set, val_batches, min(arguments.workers, 2), device.type == "cuda")

    ddp = (
        DistributedDataParallel(net, device_ids=[device.index] if device.type == "cuda" else None)
        if place.world > 1
        else net
    )
    forward: Any = torch.compile(ddp) if r.compile else ddp
    amp = lambda: torch.autocast(device.type, torch.bfloat16, enabled=r.amp == "bf16")  # noqa: E731
    log = Log(out, place.is_first, update)
    found: dict[str, float] = {}

    def content() -> dict[str, Any]:
        return {
            "arch": r.model, "recipe": dataclasses.asdict(r), "n_classes": n_classes, "dataset": dataset,
            "state_dict": net.state_dict(), "optimizer": optimizer.state_dict(),
            "ema": ema.module.state_dict() if ema else None,
            "update": update, "epoch": update // len(groups), "best": best, "world": place.world,
        }  # fmt: skip

    net.train()
    began, seen, waited, since = time.perf_counter(), 0, 0.0, time.perf_counter()
    while update < total:
        group = groups[update % len(groups)]
        lr = lr_at(update, total, warmup, peak, r)
        for each in optimizer.param_groups:
            each["lr"] = lr
        sum_of_losses = torch.zeros((), device=device)
        for step in group:
            asked = time.perf_counter()
            images, labels = next(train_images)
            waited += time.perf_counter() - asked
            seed_all(r.seed, update, step, place.rank)
            x, targets = on_device(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
            is_last = step == group[-1]
            with contextlib.nullcontext() if is_last or place.world == 1 else ddp.no_sync(), amp():
                output = forward(x.contiguous(memory_format=memory))
                losses = torch.sum(-targets * torch.log_softmax(output.float(), dim=-1), dim=-1)
                loss = losses.mean() * train_batches.weight(step, group)
                loss.backward()
            sum_of_losses += loss.detach()
            seen += train_batches.total(step)
        if r.clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), r.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update += 1
        if ema:
            ema.update(net, step=update)

        is_epoch = update % len(groups) == 0
        if update % arguments.log_every == 0 or is_epoch:
            if place.world > 1:
                dist.all_reduce(sum_of_losses)
            value = sum_of_losses.item() / place.world
            if not math.isfinite(value):
                raise DataError(
                    f"the loss is {value} at update {update}: lower --lr, lengthen --warmup, or give --clip 1"
                )
            now = time.perf_counter()
            rate, share, left = (
                seen / (now - since),
                waited / (now - since),
                (now - began) / max(1, update - epoch * len(groups) - first_group) * (total - update),
            )
            log.write("train", update, loss=value, lr=lr, images_per_s=rate, data_wait=share)
            log.say(
                f"epoch {update / len(groups):.2f}/{r.epochs}  loss {value:.3f}  lr {lr:.2e}  {rate:,.0f} img/s"
                f"  waiting for data {share:.0%}  {duration(left)} left"
            )
            seen, waited, since = 0, 0.0, now
        if is_epoch and ((update // len(groups)) % arguments.val_every == 0 or update == total):
            found = validate(ema.module if ema else net, val_batches, val_images, on_device, place, amp)
            log.write("validation", update, **found)
            log.say(
                f"epoch {update // len(groups)}/{r.epochs}: validation top-1 {found['top1']:.2f} %,"
                f" top-5 {found['top5']:.2f} %, loss {found['loss']:.3f}", last=True,
            )  # fmt: skip
            since = time.perf_counter()
        if place.is_first and (is_epoch or (arguments.save_every and update % arguments.save_every == 0)):
            is_best = is_epoch and bool(found) and found["top1"] > best
            best = max(best, found.get("top1", -1.0)) if is_epoch else best
            checkpoint.save(out / "last.pt", content())
            number = update // len(groups)
            if is_epoch and r.keep_every and number % r.keep_every == 0:
                checkpoint.save(out / f"epoch-{number:04}.pt", content())
            if is_best:
                checkpoint.save(out / "best.pt", content())
    if place.is_first:
        state = ema.module.state_dict() if ema else net.state_dict()
        checkpoint.export(
            out / "model.safetensors", state, {"arch": r.model, "n_classes": n_classes, "dataset": dataset}
        )
    log.close()
    place.wait()
    del ddp, forward
    return found


def parse(text: str = __doc__, fine_tunes: bool = False) -> tuple[Recipe, argparse.Namespace]:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="a directory of shards with _info.json, or of train and validation image folders",
    )
    if fine_tunes:
        parser.add_argument(
            "--checkpoint", type=Path, required=True, help="last.pt, best.pt or model.safetensors of a run"
        )
    parser.add_argument("--out", type=Path, required=True, help="the run's directory: checkpoints, logs, curves")
    parser.add_argument("--config", type=Path, help="a recipe, YAML")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt if it is there")
    parser.add_argument(
        "--workers",
        type=int,
        default=max(1, (os.cpu_count() or 2) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1),
        help="loader processes of each process",
    )
    parser.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto")
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--val-split", default="validation")
    parser.add_argument("--val-every", type=int, default=1, metavar="EPOCHS")
    parser.add_argument("--log-every", type=int, default=20, metavar="UPDATES")
    parser.add_argument(
        "--save-every", type=int, default=500, metavar="UPDATES", help="besides every epoch; 0 is never"
    )
    recipes.add_flags(parser)
    arguments = parser.parse_args()
    return recipes.from_flags(arguments), arguments


def run(text: str = __doc__, fine_tunes: bool = False) -> None:
    """Train as the command line says, or say in one line why not."""
    try:
        r, arguments = parse(text, fine_tunes)
        if (arguments.out / "last.pt").exists() and not arguments.resume:
            fail(f"`--out` (={arguments.out}) holds a run; give --resume to go on with it, or another directory")
        start = checkpoint.load(arguments.checkpoint) if fine_tunes else None
        if start and "arch" in start and arguments.model is None:
            r = dataclasses.replace(r, model=start["arch"])
        arguments.out.mkdir(parents=True, exist_ok=True)
        place = join(arguments.device)
        train(r, arguments, place, start)
        if place.world > 1:
            dist.destroy_process_group()
    except (DataError, recipes.RecipeError, checkpoint.CheckpointError) as error:
        fail(str(error))
    except torch.cuda.OutOfMemoryError:
        fail("the GPU has too little memory: halve --batch and double --accumulate, or give --amp bf16")
    except KeyboardInterrupt:
        fail("interrupted; the same command with --resume goes on from the last checkpoint")
    except (OSError, dist.DistNetworkError) as error:
        fail(str(error))


if __name__ == "__main__":
    run()
