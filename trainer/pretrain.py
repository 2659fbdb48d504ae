"""Pre-train any timm model on WebDataset shards, on one CPU or on many GPUs.

    torchrun --standalone --nproc-per-node 2 trainer/pretrain.py --data data/quickstart-rcdb \\
        --config trainer/recipes/smoke.yaml --out runs/smoke
    torchrun --standalone --nproc-per-node 8 trainer/pretrain.py --data data/ex1k --out runs/ex1k
    torchrun --nnodes 16 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 trainer/pretrain.py \\
        --data s3://bucket/ex21k --config trainer/recipes/exfractaldb-21k-vit-b.yaml --out runs/ex21k --resume

The first reaches 47 % top-1 in a minute on 2 CPU cores, where chance is 1 %. The second is the published recipe of the 1k
sets, with ViT-Tiny, for which no number is known. After the third, that of the 21k sets, ViT-B/16, fine-tuned, was published
to reach 83.8 % top-1 on ImageNet-1k (Kataoka et al., CVPR 2022). The last two have not been run here.
The same command with --resume goes on at the update after the last checkpoint, to the same losses.
RUN/last.pt, best.pt and model.safetensors (for timm) come out.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import math
from pathlib import Path
from typing import Any

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
import timm
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3, distribute_bn

import checkpoint
import recipe as recipes
from batches import Batches
from data import Folder, Images, Shards, loader
from info import INFO, DataError, is_url, read_split
from launch import Place, Stop, crash, end, fail, free_cores, join, seed_all
from log import Log, Progress
from recipe import Recipe
from stream import Stream
from tars import index_of


AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def lr_at(update: int, total: int, warmup: int, peak: float, r: Recipe) -> float:
    """Return the learning rate of an update: linear warm-up within one cosine over all updates."""
    if update < warmup:
        return r.warmup_lr + (peak - r.warmup_lr) * update / warmup
    return r.min_lr + 0.5 * (peak - r.min_lr) * (1.0 + math.cos(math.pi * update / total))


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
        return timm.create_model(r.model, num_classes=n_classes, **options)
    except TypeError as error:
        raise DataError(f"`--model` (={r.model}) does not take {', '.join(options)}: {error}") from None


def open_images(
    arguments: argparse.Namespace, name: str, transform: Any, seed: int, place: Place
) -> tuple[Images | Stream, int, str]:
    """Return a split's images, how many classes there are, and the dataset's hash; rank 0 looks first, the others wait."""
    data = arguments.data
    folders = (
        [] if is_url(data) or not Path(data).is_dir() else [each.name for each in Path(data).iterdir() if each.is_dir()]
    )
    if folders and not (Path(data) / INFO).exists():
        if name not in folders:
            raise DataError(
                f"`--data` (={data}) has no {INFO} (is its bake complete?) and no folder {name}, but"
                f" {', '.join(sorted(folders)[:4])}; --train-split and --val-split name folders"
            )
        folder = Folder(Path(data) / name, transform, seed)
        return folder, len(folder.classes), folder.hash
    split, problem = read_split(data, name, arguments.classes), ""
    if split.is_remote:
        return Stream(split, transform, seed), split.n_classes, split.spec_hash
    if place.is_first:
        try:
            index_of(split, arguments.out, build=True)
        except DataError as error:
            problem = str(error)
    if problem := place.from_first(problem):
        raise DataError(problem)
    return Shards(split, index_of(split, arguments.out, build=False), transform, seed), split.n_classes, split.spec_hash


@torch.no_grad()
def validate(
    model: torch.nn.Module, batches: Batches, images: Any, on_device: OnDevice, place: Place, amp: Any
) -> dict[str, float]:
    """Return the top-1, top-5 and loss over all samples of a split, each counted once."""
    model.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=place.device)
    for step in range(batches.steps):
        x, labels = (each.to(place.device, non_blocking=True) for each in next(images))
        n = batches.count(step)
        with amp():
            output = model(on_device.normalised(x)).float()[:n]
        labels = labels[:n]
        best = output.topk(min(5, output.shape[1]), dim=1).indices == labels[:, None]
        loss = torch.nn.functional.cross_entropy(output, labels, reduction="sum")
        sums += torch.stack([best[:, 0].sum(), best.any(dim=1).sum(), loss]).double()
    if place.world > 1:
        dist.all_reduce(sums)
    top1, top5, loss = (sums / batches.n).tolist()
    model.train()
    return {"top1": 100 * top1, "top5": 100 * top5, "loss": loss}


def train(r: Recipe, arguments: argparse.Namespace, place: Place, start: dict[str, Any] | None = None) -> None:
    """Train from the start, from the weights of a checkpoint, or from RUN/last.pt on."""
    out, device, workers = arguments.out, place.device, arguments.workers
    transform = TrainTransform(r.size, (r.crop_scale, 1.0), r.flip, r.randaugment)
    train_set, n_classes, dataset = open_images(arguments, arguments.train_split, transform, r.seed, place)
    train_batches = Batches(train_set.n, r.batch, place.rank, place.world, r.seed, repeats=r.repeats)
    val_set, _, _ = open_images(arguments, arguments.val_split, EvalTransform(r.size, r.eval_crop), 0, place)
    val_batches = Batches(val_set.n, r.batch, place.rank, place.world, shuffle=False)
    if isinstance(train_set, Folder) and isinstance(val_set, Folder):
        train_set.must_have_the_classes_of(val_set)

    seed_all(r.seed)
    net = build_model(r, n_classes)
    if start:
        checkpoint.load_weights(net, start.get("ema") or start["state_dict"], arguments.checkpoint, new_head=True)
        start.clear()
    memory = torch.channels_last if r.channels_last else torch.contiguous_format
    net = net.to(device, memory_format=memory)
    peak = r.lr * (r.batch * place.world * r.accumulate / r.lr_scale_batch if r.lr_scale_batch else 1.0)
    optimizer = create_optimizer_v2(net, "adamw", lr=peak, weight_decay=r.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=r.amp == "fp16")
    ema = ModelEmaV3(net, decay=r.ema) if r.ema else None
    on_device = OnDevice(n_classes, device, r.smoothing, r.mixup, r.cutmix, r.erasing)

    groups = [range(k, min(k + r.accumulate, train_batches.steps)) for k in range(0, train_batches.steps, r.accumulate)]
    total, warmup = len(groups) * r.epochs, round(len(groups) * r.warmup)
    update, best, is_finished = 0, -1.0, True
    what = {
        "number of classes": n_classes, "dataset": dataset[:16], "number of processes": place.world,
        "number of loader workers": workers if isinstance(train_set, Stream) else "any",
    }  # fmt: skip

    def content() -> dict[str, Any]:
        return {
            "arch": r.model, "recipe": dataclasses.asdict(r), "n_classes": n_classes, "what": what,
            "state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(),
            "ema": ema.module.state_dict() if ema else None,
            "update": update, "epoch": update // len(groups), "best": best, "is_finished": is_finished,
            "mean": MEAN, "std": STD,
        }  # fmt: skip

    if arguments.resume and (out / "last.pt").exists():
        there = checkpoint.resumable(out / "last.pt", dataclasses.asdict(r), what)
        checkpoint.load_weights(net, there["state_dict"], out / "last.pt")
        optimizer.load_state_dict(there["optimizer"])
        if ema:
            ema.module.load_state_dict(there["ema"])
        if there["scaler"]:
            scaler.load_state_dict(there["scaler"])
        update, best, is_finished = there["update"], there["best"], there["is_finished"]
        del there
    if update != place.from_first(update):
        raise DataError(f"`--out` (={out}) must be on a disk that all machines share: not all have the same last.pt")
    epoch, first_group = divmod(update, len(groups))
    if update < total:
        train_batches.start = epoch * train_batches.steps + groups[first_group].start
    train_images = loader(train_set, train_batches, workers, device.type == "cuda")
    val_images = loader(val_set, val_batches, min(workers, 2), device.type == "cuda")

    ddp = net
    if place.world > 1:
        ddp = DistributedDataParallel(net, device_ids=[device.index] if device.type == "cuda" else None)
    forward: Any = torch.compile(ddp) if r.compile else ddp
    amp = lambda: torch.autocast(device.type, AMP.get(r.amp), enabled=r.amp in AMP)  # noqa: E731
    log = Log(out, place.is_first, update)
    progress, stop = Progress(log, r.epochs, len(groups), update), Stop()

    def finish_epoch() -> None:
        """Validate, and write all checkpoints of the end of an epoch."""
        nonlocal best, is_finished
        epoch, is_finished, is_best = update // len(groups), True, False
        if epoch % arguments.val_every == 0 or update == total:
            for model in (net, ema.module) if ema and place.world > 1 else (net,) if place.world > 1 else ():
                distribute_bn(model, place.world)
            found = validate(ema.module if ema else net, val_batches, val_images, on_device, place, amp)
            progress.tell_validation(update, found)
            best, is_best = max(best, found["top1"]), found["top1"] > best
        if place.is_first:
            is_kept = r.keep_every and epoch % r.keep_every == 0
            for name in ("best.pt",) * is_best + (f"epoch-{epoch:04}.pt",) * bool(is_kept) + ("last.pt",):
                checkpoint.save(out / name, content())

    net.train()
    if not is_finished:
        finish_epoch()
    while update < total:
        group = groups[update % len(groups)]
        lr = lr_at(update, total, warmup, peak, r)
        for each in optimizer.param_groups:
            each["lr"] = lr
        sum_of_losses = torch.zeros((), device=device)
        for step in group:
            with progress.waiting():
                images, labels = next(train_images)
            seed_all(r.seed, update, step, place.rank)
            x, targets = on_device(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
            is_last = step == group[-1]
            with contextlib.nullcontext() if is_last or place.world == 1 else ddp.no_sync(), amp():
                output = forward(x.contiguous(memory_format=memory))
                losses = torch.sum(-targets * torch.log_softmax(output.float(), dim=-1), dim=-1)
                loss = losses.mean() * train_batches.weight(step, group)
            with contextlib.nullcontext() if is_last or place.world == 1 else ddp.no_sync():
                scaler.scale(loss).backward()
            sum_of_losses += loss.detach()
            progress.seen += train_batches.total(step)
        if r.clip:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(net.parameters(), r.clip)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        update += 1
        if ema:
            ema.update(net, step=update)

        is_epoch, stops = update % len(groups) == 0, False
        saves = arguments.save_every > 0 and update % arguments.save_every == 0
        if update % arguments.log_every == 0 or is_epoch or saves:
            told = torch.stack([sum_of_losses, torch.tensor(float(stop.is_asked), device=device)])
            if place.world > 1:
                dist.all_reduce(told)
            value, stops = told[0].item() / place.world, told[1].item() > 0
            if not math.isfinite(value) and not scaler.is_enabled():
                raise DataError(
                    f"the loss is {value} at update {update}: begin anew with a lower --lr, a longer --warmup, or --clip 1"
                )
            progress.tell(update, value, lr)
        if is_epoch and not stops:
            finish_epoch()
        elif place.is_first and (saves or stops):
            is_finished = not is_epoch
            checkpoint.save(out / "last.pt", content())
        if stops:
            place.from_first("saved")
            fail(f"stopped after update {update:,}, which is saved; the same command with --resume goes on")
    if place.is_first:
        state = ema.module.state_dict() if ema else net.state_dict()
        metadata = {"arch": r.model, "n_classes": n_classes, "dataset": dataset, "mean": MEAN, "std": STD}
        checkpoint.export(out / "model.safetensors", state, metadata)
    log.close()
    log.say(f"done: {out / 'model.safetensors'} for timm; last.pt, best.pt and curves.png beside it", last=True)
    if place.world > 1:
        dist.barrier()


def parse(text: str = __doc__, fine_tunes: bool = False) -> tuple[Recipe, argparse.Namespace]:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = fail  # type: ignore[method-assign] # one line, without the usage
    parser.add_argument(
        "--data",
        required=True,
        help="a directory of shards with _info.json, a URL of one (http://..., s3://..., pipe:COMMAND with {} for a"
        " file's name), or a directory of image folders",
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
        type=recipes.at_least(0),
        default=max(1, free_cores() - 1),
        help="loader processes of each process [%(default)s]",
    )
    parser.add_argument("--device", choices=["auto", "cuda", "cpu"], default="auto")
    parser.add_argument(
        "--classes", type=recipes.at_least(1), help="how many there are, where _info.json has no num_classes"
    )
    parser.add_argument("--train-split", default="train", help="its name [%(default)s]")
    parser.add_argument("--val-split", default="validation", help="its name [%(default)s]")
    parser.add_argument("--val-every", type=recipes.at_least(1), default=1, metavar="EPOCHS", help="[%(default)s]")
    parser.add_argument("--log-every", type=recipes.at_least(1), default=20, metavar="UPDATES", help="[%(default)s]")
    parser.add_argument(
        "--save-every",
        type=recipes.at_least(0),
        default=500,
        metavar="UPDATES",
        help="besides every epoch; 0 is never [%(default)s]",
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
        try:
            arguments.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(f"`--out` (={arguments.out}) cannot be made: {error.strerror}; give another directory")
        place = join(arguments.device)
        train(r, arguments, place, start)
    except (DataError, recipes.RecipeError, checkpoint.CheckpointError) as error:
        fail(str(error))
    except torch.cuda.OutOfMemoryError:
        fail("the GPU has too little memory: halve --batch and double --accumulate, or give --amp bf16")
    except KeyboardInterrupt:
        fail("interrupted; the same command with --resume goes on from the last checkpoint, if there is one")
    except OSError as error:
        fail(str(error))
    except Exception as error:
        if "DataLoader worker (pid" in str(error):
            fail(f"{error}; most often for want of memory: give fewer --workers")
        crash()
    end(0)


if __name__ == "__main__":
    run()
