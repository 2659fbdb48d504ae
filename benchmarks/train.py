"""Measures how fast the trainer loads images, from the formula and from shards, against the ordinary pipelines.

    .venv-train/bin/python benchmarks/train.py    # `make bench-train` runs this

Prints tables and writes benchmarks/results/train.json and trainer/README.md. Exits with 1 if a target is missed, or if the
two augmentations do not draw the same images.

Without augmentation, the others are webdataset and torchvision's ImageFolder as they are mostly used: Pillow to RGB. With
augmentation, the ordinary pipeline is timm's: Pillow to RGB, crop, RandAugment, floats, normalising and random erasing,
image by image. With a prefetcher, it leaves the last three to the device, as ours does. CPU time is that of a loader worker
and of the process that takes its batches. The sides take turns.
"""

from __future__ import annotations

import io
import json
import random
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
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

from trainer.data import Images, Rendered, Shards
from trainer.images import TrainTransform, collate, decode, seed_image
from trainer.info import read_split
from trainer.recipe import Recipe
from trainer.tars import build_index

from timm.data import create_transform
from torchvision.datasets import ImageFolder
from webdataset import WebDataset

from fdsl import LocalExecutor, bake, parse_spec
from fdsl import open as open_live

SETS = {"exfractal": ("ExFractalDB, 224 px, two-level", 224), "rcdb": ("RCDB, 512 px, grey", 512)}
SIZE, BATCH, RANDAUGMENT = 224, 64, "rand-m9-mstd0.5-inc1"
TARGET = 3.0
"""Least ratio of our images per core-second to those of the ordinary pipeline."""
MOST_DIFFERENCE = 1.0
"""Largest mean difference of a pixel between the pipelines, in grey levels: they round crops differently."""
PLAIN_TARGETS = {
    "exfractal": {"shards": 1.0, "webdataset": 3.0},
    "rcdb": {"shards": 1.4, "webdataset": 3.0},
}
"""Least ratios of images per core-second from the formula to those from elsewhere, without augmentation."""
N_ROUNDS = 3
N_IMAGES = 640
N_PAIRS = 200


def baked(family: str, size: int, folder: Path) -> Shards:
    """Return 1,000 images of 20 categories."""
    spec = parse_spec(
        {"name": "train", "family": family, "categories": 20, "instances": {"train": 50}, "image": {"size": size}},
    )
    bake(spec, folder / family, executor=LocalExecutor(1))
    split = read_split(str(folder / family), "train")
    return Shards(split, build_index(split, folder), TrainTransform(Recipe(size=SIZE, randaugment=RANDAUGMENT)), 0)


def as_it_is(pixels: np.ndarray) -> np.ndarray:
    return pixels


def plain_loaders(shards: Shards, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return loaders of 1,000 images in batches.

    Images are neither cropped nor normalised.
    """
    live = Rendered(open_live(folder), "live", as_it_is, 0)
    same = Shards(shards.split, Path(str(shards.index.filename)), as_it_is, 0)
    for i in range(shards.n):
        content, label, _ = shards.read(i)
        (folder / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        (folder / "images" / str(label) / f"{i}.png").write_bytes(content)
    files = ImageFolder(folder / "images", transform=np.asarray)
    urls = [str(path) for path in sorted(folder.glob("train-*.tar"))]

    def batched(images: Any, join: Any = None) -> Callable[[], Any]:
        order = np.random.default_rng(0).permutation(shards.n)
        batches = [order[k : k + BATCH].tolist() for k in range(0, shards.n, BATCH)]
        return lambda: torch.utils.data.DataLoader(images, batch_sampler=batches, collate_fn=join)

    def streamed() -> Any:
        samples = WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("png", "cls").map_tuple(np.asarray, int)
        return torch.utils.data.DataLoader(samples, batch_size=BATCH)

    return {
        "formula": batched(live, collate), "shards": batched(same, collate), "webdataset": streamed,
        "ImageFolder": batched(files),
    }  # fmt: skip


def measure_plain(shards: Shards, folder: Path, targets: dict[str, float]) -> dict[str, Any]:
    """Return CPU microseconds per image of each source.

    Also their ratios to the formula's.
    """
    loaders = plain_loaders(shards, folder)
    times: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(N_ROUNDS + 1):
        for name, load in loaders.items():
            times[name].append(clock(lambda load=load: sum(len(labels) for _, labels in load())) / shards.n)
    times = {name: each[1:] for name, each in times.items()}  # the first round warms up
    return {
        "us": {name: median(each) * 1e6 for name, each in times.items()},
        "ratios": {name: ratio_of(times[name], times["formula"], target) for name, target in targets.items()},
    }


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
    join = collate if isinstance(images, Images) else None
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
        "seed": clock(lambda: [seed_image(0, 0, i) for i in range(N_PAIRS)]) / N_PAIRS * 1e6,
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


def measure_loading(shards: Shards, folder: Path) -> dict[str, Any]:
    """Return CPU microseconds per image of four pipelines.

    Also the ratio of two.
    """
    live = Rendered(open_live(folder), "live", shards.transform, 0)
    sides = {
        "formula": live,
        "shards": shards,
        "ordinary": Ordinary(shards, False),
        "ordinary, prefetcher": Ordinary(shards, True),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(N_ROUNDS):
        for name, images in sides.items():
            times[name].append(loading_s(images))
    return {
        "us": {name: median(each) * 1e6 for name, each in times.items()},
        "stages_us": stages_us(shards),
        "ratio": ratio_of(times["ordinary"], times["shards"], TARGET),
        "difference": difference(shards),
    }


def time_lines(us: dict[str, float]) -> Iterator[str]:
    """Yield a line per source or pipeline."""
    for name, each in us.items():
        yield f"    {name:<30}{each:>8,.0f} us/image  {1e6 / each:>7,.0f} images/s"


def ratio_line(name: str, ratio: Ratio) -> str:
    """Return the line of a ratio and its target."""
    verdict = "pass" if ratio.is_met else "FAIL"
    spread = f"({ratio.low:,.1f} to {ratio.high:,.1f})"
    return f"    {name:<30}{ratio.median:>8,.2f}x {spread:<15} target >= {ratio.target:g}x: {verdict}"


def plain_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the table of `measure_plain`."""
    yield "  without augmentation: batches of uint8, in one process"
    yield from time_lines(found["us"])
    yield from (ratio_line(f"{name} / formula", ratio) for name, ratio in found["ratios"].items())


def loading_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield the table of `measure_loading`."""
    yield "  with the published augmentation: a loader worker and the process that it feeds"
    yield from time_lines(found["us"])
    yield f"    of shards: {', '.join(f'{name} {us:,.0f}' for name, us in found['stages_us'].items())} us"
    yield ratio_line("ordinary / shards", found["ratio"])
    verdict = "pass" if found["difference"] <= MOST_DIFFERENCE else "FAIL"
    yield (
        f"    same images after the same seeds: {found['difference']:.2f} grey levels apart,"
        f" target <= {MOST_DIFFERENCE:g}: {verdict}"
    )


def main() -> int:
    """Measure, print and write; return the exit status."""
    torch.set_num_threads(1)
    here, all_lines = machine.describe("torch", "timm", "torchvision", "webdataset"), []

    def say(*lines: str) -> None:
        all_lines.extend(lines)
        print(*lines, sep="\n", flush=True)

    say(f"{here['cpu']}, {here['cores']} cores, {here['platform']}, torch {here['packages']['torch']}")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fdsl-bench-", dir=tar_folder()[0]) as folder:
        for family, (title, size) in SETS.items():
            shards = baked(family, size, Path(folder))
            plain = measure_plain(shards, Path(folder) / family, PLAIN_TARGETS[family])
            loading = measure_loading(shards, Path(folder) / family)
            say("", title, *plain_lines(plain), *loading_lines(loading))
            results[family] = {"plain": plain, "augmented": loading}
    RESULTS.joinpath("train.json").write_text(
        json.dumps({"machine": here, "results": results}, indent=1, default=asdict) + "\n"
    )
    write_block(TRAINER, "bench-train", all_lines)
    n_missed = sum(line.endswith("FAIL") for line in all_lines)
    print(f"FAIL: {n_missed} targets" if n_missed else "all targets met")
    return 1 if n_missed else 0


if __name__ == "__main__":
    sys.exit(main())
