"""Measures the trainer: its loader against the ordinary pipeline, and whether it keeps a model busy.

    .venv-train/bin/python benchmarks/train.py                                       # `make bench-train` runs this
    python benchmarks/train.py --models vit_tiny_patch16_224 vit_base_patch16_224 --batch 256    # where there is a GPU

Prints tables and writes benchmarks/results/train.json and trainer/README.md. Exits with 1 if a target is missed, or if the
two pipelines do not draw the same images.

The ordinary pipeline is timm's: Pillow to RGB, crop, RandAugment, floats, normalising and random erasing, image by image.
With a prefetcher, it leaves the last three to the device, as ours does. CPU time is that of a loader worker and of the
process that takes its batches. Both sides take turns. The model is trained as in pretrain.py.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numpy as np
from measures import Ratio, clock, ratio_of
from outputs import RESULTS, TRAINER, tar_folder, write_block

import torch
from PIL import Image

from trainer.batches import Batches
from trainer.data import Shards, loader
from trainer.images import OnDevice, TrainTransform, collate, decode
from trainer.info import read_split
from trainer.recipe import Recipe
from trainer.tars import build_index

import timm  # after the trainer, which makes torchvision importable
from timm.data import create_transform
from timm.optim import create_optimizer_v2

from fdsl import LocalExecutor, bake, parse_spec

SETS = {"exfractal": ("ExFractalDB, 224 px, two-level", 224), "rcdb": ("RCDB, 512 px, grey", 512)}
SIZE, BATCH, RANDAUGMENT = 224, 64, "rand-m9-mstd0.5-inc1"
TARGET = 3.0
"""Least ratio of our images per core-second to those of the ordinary pipeline."""
MOST_DIFFERENCE = 1.0
"""Largest mean difference of a pixel between the pipelines, in grey levels: they round crops differently."""
LEAST_SHARE = 0.95
"""Least share of the rate of a batch that is already on the GPU."""
N_ROUNDS = 5
N_IMAGES = 2560
N_PAIRS = 400


def baked(family: str, size: int, folder: Path) -> Shards:
    """Return 1,000 images of 20 categories."""
    spec = parse_spec(
        {"name": "train", "family": family, "categories": 20, "instances": {"train": 50}, "image": {"size": size}},
    )
    bake(spec, folder / family, executor=LocalExecutor(1))
    split = read_split(str(folder / family), "train")
    return Shards(split, build_index(split, folder), TrainTransform(Recipe(size=SIZE, randaugment=RANDAUGMENT)), 0)


class Ordinary(torch.utils.data.Dataset[tuple[Any, int]]):
    """The same files through timm's transforms in three channels."""

    def __init__(self, shards: Shards, prefetcher: bool) -> None:
        self.shards = shards
        self.transform = create_transform(
            SIZE, is_training=True, hflip=0.0, auto_augment=RANDAUGMENT, interpolation="random", re_prob=0.25,
            re_mode="pixel", use_prefetcher=prefetcher,
        )  # fmt: skip

    def __getitem__(self, j: int) -> tuple[Any, int]:
        content, label, _ = self.shards.read(j % self.shards.n)
        pixels = self.transform(Image.open(io.BytesIO(content)).convert("RGB"))
        return torch.as_tensor(pixels), label


def cpu_s() -> float:
    """Return CPU seconds of this process and its ended workers."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def loading_s(images: Any) -> float:
    """Return CPU seconds per image of a loader and its worker."""
    batches = [[j % 1000 for j in range(k, k + BATCH)] for k in range(0, N_IMAGES, BATCH)]
    join = collate if isinstance(images, Shards) else None
    before = cpu_s()
    for _ in torch.utils.data.DataLoader(images, batch_sampler=batches, num_workers=1, collate_fn=join):
        pass
    return (cpu_s() - before) / N_IMAGES


def stages_us(shards: Shards) -> dict[str, float]:
    """Return CPU microseconds per image of each stage."""
    crop = TrainTransform(Recipe(size=SIZE, randaugment=""))
    files = [shards.read(i)[0] for i in range(N_PAIRS)]
    pixels = [decode(each) for each in files]
    cropped = [crop(each) for each in pixels]
    augment = shards.transform.randaugment[1]
    pil = [Image.fromarray(each[:, :, 0]) for each in cropped]
    batch = [(torch.from_numpy(each).permute(2, 0, 1), 0) for each in cropped[:BATCH]]
    return {
        "read, decode": clock(lambda: [decode(shards.read(i)[0]) for i in range(N_PAIRS)]) / N_PAIRS * 1e6,
        "crop": clock(lambda: [crop(each) for each in pixels]) / N_PAIRS * 1e6,
        "RandAugment": clock(lambda: [augment(each) for each in pil]) / N_PAIRS * 1e6,
        "collate": clock(lambda: [collate(batch) for _ in range(8)]) / 8 / BATCH * 1e6,
    }


def difference(shards: Shards) -> float:
    """Return the mean difference of both pipelines' images, in grey levels.

    Both draw from the same seeds.
    """
    crop, augment, _ = create_transform(
        SIZE, is_training=True, hflip=0.0, auto_augment=RANDAUGMENT, interpolation="random", separate=True
    )

    def seeded(seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    differences = []
    for i in range(N_PAIRS):
        content, _, _ = shards.read(i)
        seeded(i)
        ours = shards.transform(decode(content)).astype(float)
        seeded(i)
        ordinary = np.array(augment(crop(Image.open(io.BytesIO(content)).convert("RGB"))))
        differences.append(np.abs(ours - ordinary.mean(axis=2, keepdims=True)).mean())
    return float(np.mean(differences))


def measure_loading(shards: Shards) -> dict[str, Any]:
    """Return CPU microseconds per image of three pipelines, and their ratio."""
    sides = {"ours": shards, "ordinary": Ordinary(shards, False), "ordinary, prefetcher": Ordinary(shards, True)}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(N_ROUNDS):
        for name, images in sides.items():
            times[name].append(loading_s(images))
    return {
        "us": {name: median(each) * 1e6 for name, each in times.items()},
        "stages_us": stages_us(shards),
        "ratio": ratio_of(times["ordinary"], times["ours"], TARGET),
        "difference": difference(shards),
    }


def measure_model(
    name: str, shards: Shards, device: torch.device, batch: int, workers: int, seconds: float
) -> dict[str, float]:
    """Return images/s from a batch on the device and from shards.

    Also returns the peak memory.
    """
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=1000).to(device)
    optimizer = create_optimizer_v2(net, "adamw", lr=1e-4)
    on_device = OnDevice(Recipe(), 1000, device)

    def update(images: torch.Tensor, labels: torch.Tensor) -> int:
        x, targets = on_device(images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
        with torch.autocast(device.type, torch.bfloat16):
            output = net(x)
            loss = torch.sum(-targets * torch.log_softmax(output.float(), dim=-1), dim=-1).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return len(images)

    def rate(source: Callable[[], Sequence[torch.Tensor]]) -> float:
        update(*source())
        wait()
        began, n, steps = time.perf_counter(), 0, 0
        while time.perf_counter() - began < seconds:
            n += update(*source())
            steps += 1
            if steps % 8 == 0:
                wait()
        wait()
        return n / (time.perf_counter() - began)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    endless: Iterator[Any] = loader(shards, Batches(shards.n, batch), workers, device.type == "cuda")
    fixed = [each.to(device) for each in next(endless)]
    rates = [(rate(lambda: fixed), rate(lambda: next(endless))) for _ in range(3)]
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    from_device, from_shards = (median(each) for each in zip(*rates, strict=True))
    share = median(shards_rate / device_rate for device_rate, shards_rate in rates)
    return {"from_device": from_device, "from_shards": from_shards, "share": share, "memory_gib": memory}


def loading_lines(title: str, found: dict[str, Any]) -> Iterator[str]:
    """Yield the table of `measure_loading`."""
    ratio: Ratio = found["ratio"]
    is_same = found["difference"] <= MOST_DIFFERENCE
    yield f"{title}: CPU time of a worker and of the process that it feeds"
    for name, us in found["us"].items():
        yield f"  {name:<32}{us:>10,.0f} us/image  {1e6 / us:>7,.0f} images/s"
    for name, us in found["stages_us"].items():
        yield f"    of ours, {name:<21}{us:>10,.0f}"
    yield (
        f"  ordinary / ours                 {ratio.median:>9,.1f}x  ({ratio.low:,.1f} to {ratio.high:,.1f})"
        f"  target >= {TARGET:g}x: {'pass' if ratio.is_met else 'FAIL'}"
    )
    yield (
        f"  same images after the same seeds: {found['difference']:.2f} grey levels apart, target"
        f" <= {MOST_DIFFERENCE:g}: {'pass' if is_same else 'FAIL'}"
    )


def model_line(title: str, rates: dict[str, float], has_target: bool) -> str:
    """Return the line of `measure_model`."""
    line = (
        f"  {title:<34}{rates['from_device']:>10,.1f} on the device{rates['from_shards']:>10,.1f} from shards"
        f"  {rates['share']:.0%}"
    )
    if not has_target:
        return line
    verdict = "pass" if rates["share"] >= LEAST_SHARE else "FAIL"
    return f"{line}  target >= {LEAST_SHARE:.0%}: {verdict}  peak {rates['memory_gib']:.1f} GiB"


def main() -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="*", default=["vit_tiny_patch16_224"], help="timm models to train")
    parser.add_argument("--batch", type=int, default=8, help="batch size of the models")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="loader workers that feed a model"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each measurement of a model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here, all_lines = machine.describe("torch", "timm", "torchvision"), []
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU: models train on one core"

    def say(*lines: str) -> None:
        all_lines.extend(lines)
        print(*lines, sep="\n", flush=True)

    say(f"{here['cpu']}, {here['cores']} cores, {here['platform']}, torch {here['packages']['torch']}; {hardware}")
    results: dict[str, Any] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as folder:
        sets = {family: baked(family, size, Path(folder)) for family, (_, size) in SETS.items()}
        for family, shards in sets.items():
            found = results[family] = measure_loading(shards)
            say("", *loading_lines(SETS[family][0], found))
            missed += [] if found["ratio"].is_met and found["difference"] <= MOST_DIFFERENCE else [family]
        say("", f"training in bf16, batch {options.batch}, {options.workers} loader workers: images/s")
        for name in options.models:
            for family, shards in sets.items():
                rates = measure_model(name, shards, device, options.batch, options.workers, options.seconds)
                results[f"{name}, {family}"] = rates
                is_met = device.type == "cpu" or rates["share"] >= LEAST_SHARE
                say(model_line(f"{name}, {family}", rates, device.type == "cuda"))
                missed += [] if is_met else [name]
    plain = json.loads(json.dumps(results, default=asdict))
    RESULTS.joinpath("train.json").write_text(
        json.dumps({"machine": here, "device": hardware, "results": plain}, indent=1) + "\n"
    )
    write_block(TRAINER, "bench-train", all_lines)
    print("FAIL: " + ", ".join(missed) if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
