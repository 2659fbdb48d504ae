"""Checks the trainer on the GPUs of a machine.

    .venv-train/bin/python benchmarks/gpu.py    # `make gpu-check` runs this, with the torch that is installed
    python benchmarks/gpu.py --device cpu --models test_vit --size 32 --batch 8 --seconds 0.2    # rehearses it without a GPU

Trains on all GPUs with NCCL and resumes; compares the losses. Measures images/s of a model from a batch on the GPU, from
shards and from the formula, in bf16, with and without torch.compile; and tries a batch that is too large. Prints a table and,
of a GPU, writes it to trainer/README.md. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine
import torch
from outputs import ROOT, TRAINER, write_block

from fdsl import LocalExecutor, bake, parse_spec
from fdsl import open as open_live
from trainer.batches import Batches
from trainer.data import Rendered, Shards, loader
from trainer.images import TrainTransform
from trainer.info import read_split
from trainer.learner import Learner, build_model
from trainer.ranks import Ranks
from trainer.recipe import Recipe, free_cores
from trainer.tars import build_index

SPEC = {"name": "gpu", "family": "rcdb", "categories": 20, "instances": {"train": 50, "validation": 5}}
LEAST_SHARE = 0.95
"""Least share of the rate of a batch that is already on the GPU."""
MOST_DIFFERENCE = 0.01
"""Largest relative difference of a resumed run's losses: a GPU adds in any order."""
TINY = [
    "--model",
    "test_vit",
    "--size",
    "32",
    "--warmup",
    "0",
    "--epochs",
    "2",
    "--keep-every",
    "1",
    "--log-every",
    "1",
]


def trained(data: Path, out: Path, device: str, n_processes: int, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the trainer, one process per GPU."""
    command = [sys.executable, "-m", "trainer.pretrain"]
    if n_processes > 1:
        start = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        command[1:2] = [*start, "--nproc-per-node", str(n_processes), "-m"]
    command += ["--data", str(data), "--out", str(out), "--device", device, "--workers", "1", *TINY, *flags]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)


def losses(out: Path) -> list[float]:
    """Return the training losses of a run."""
    records = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if record["kind"] == "train"]


def resume_line(data: Path, folder: Path, device: str, n_processes: int) -> str:
    """Train on all GPUs and from the middle; compare the losses."""
    whole, cut = folder / "whole", folder / "cut"
    cut.mkdir()
    done = trained(data, whole, device, n_processes)
    if done.returncode == 0:
        (whole / "epoch-0001.pt").rename(cut / "last.pt")
        done = trained(data, cut, device, n_processes, "--resume")
    if done.returncode:
        return f"training on {n_processes} processes: FAIL: {done.stderr.strip().splitlines()[-1]}"
    second, resumed = losses(whole)[len(losses(whole)) // 2 :], losses(cut)
    worst = max(abs(a - b) / a for a, b in zip(second, resumed, strict=True))
    by = ("NCCL" if device == "cuda" else "gloo") if n_processes > 1 else "no communication"
    verdict = "pass" if worst <= MOST_DIFFERENCE else "FAIL"
    return f"training on {n_processes} processes by {by}, resumed: losses differ by at most {worst:.1e}: {verdict}"


def memory_line(data: Path, folder: Path) -> str:
    """Train with a batch that no GPU can hold; expect one line."""
    done = trained(
        data, folder / "large", "cuda", 1, "--model", "vit_base_patch16_224", "--size", "224", "--batch", "9000"
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("trainer: ")]
    verdict = "pass" if done.returncode == 1 and len(lines) == 1 and "--batch" in lines[0] else "FAIL"
    return f"batch of 9,000: {' '.join(lines)[:200]}: {verdict}"


def sources(folder: Path, recipe: Recipe, workers: int) -> dict[str, Iterator[Any]]:
    """Return endless batches from shards and from the formula."""
    transform, split = TrainTransform(recipe), read_split(str(folder), "train")
    sets = {
        "shards": Shards(split, build_index(split, folder), transform, 0),
        "formula": Rendered(open_live(folder), "live", transform, 0),
    }
    pin = torch.cuda.is_available()
    return {name: loader(each, Batches(each.n, recipe.batch), workers, pin) for name, each in sets.items()}


def rates_of(recipe: Recipe, device: torch.device, found: dict[str, Iterator[Any]], seconds: float) -> dict[str, float]:
    """Return images/s of training from each source.

    Also the peak memory, GiB.
    """
    learner = Learner(recipe, build_model(recipe, 20), 10**6, 0, Ranks(0, 1, device))
    fixed = [tensor.to(device) for tensor in next(found["shards"])]
    batches, update = Batches(recipe.batch * 10**6, recipe.batch), itertools.count()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def rate(images: Iterator[Any]) -> float:
        for _ in range(3):  # compiles
            learner.learn(next(update), batches, images).item()
        began, n = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            for _ in range(4):
                loss = learner.learn(next(update), batches, images)
                n += recipe.batch
            loss.item()  # waits for the GPU
        return n / (time.perf_counter() - began)

    rates = {name: rate(images) for name, images in {"device": itertools.repeat(fixed), **found}.items()}
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    return {**rates, "GiB": memory}


def rate_line(recipe: Recipe, rates: dict[str, float]) -> str:
    """Return the line of a model."""
    shares = {name: rates[name] / rates["device"] for name in ("shards", "formula")}
    verdict = f", target >= {LEAST_SHARE:.0%}: {'pass' if min(shares.values()) >= LEAST_SHARE else 'FAIL'}"
    title = f"{recipe.model}{', compiled' if recipe.compile else ''}, batch {recipe.batch}"
    parts = ", ".join(f"{name} {rates[name]:,.1f} ({share:.0%})" for name, share in shares.items())
    line = f"{title}: images/s from the device {rates['device']:,.1f}, {parts}"
    return f"{line}, peak {rates['GiB']:.1f} GiB{verdict}" if rates["GiB"] else line


def main(arguments: list[str] | None = None) -> int:
    """Check, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu rehearses, and writes nothing")
    parser.add_argument("--models", nargs="+", default=["vit_tiny_patch16_224", "vit_base_patch16_224"])
    parser.add_argument("--size", type=int, default=224, help="side of the images, px")
    parser.add_argument("--batch", type=int, default=256, help="images per step")
    parser.add_argument("--processes", type=int, default=0, help="processes that train together; all GPUs by default")
    parser.add_argument("--workers", type=int, default=max(1, free_cores() - 1), help="loader workers")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("gpu-check: torch sees no GPU, so nothing was checked; --device cpu rehearses it", file=sys.stderr)
        return 1
    device = torch.device(options.device)
    n_gpus = torch.cuda.device_count() if options.device == "cuda" else 0
    name = f"{n_gpus} x {torch.cuda.get_device_name()}" if n_gpus else "a rehearsal without GPU"
    here, lines = machine.describe("torch", "timm"), []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    say(f"{name}; {here['cpu']}, {here['cores']} cores, torch {here['packages']['torch']}, CUDA {torch.version.cuda}")
    with tempfile.TemporaryDirectory(prefix="fdsl-gpu-") as folder:
        data = Path(folder) / "data"
        bake(parse_spec(SPEC), data, executor=LocalExecutor(1))
        say(resume_line(data, Path(folder), options.device, options.processes or max(1, n_gpus)))
        recipes = [
            Recipe(model=model, size=options.size, batch=options.batch, amp="bf16", compile=compiled)
            for model in options.models
            for compiled in ((False, True) if n_gpus else (False,))
        ]
        found = sources(data, recipes[0], options.workers)
        for recipe in recipes:
            say(rate_line(recipe, rates_of(recipe, device, found, options.seconds)))
        if n_gpus:
            say(memory_line(data, Path(folder)))
            write_block(TRAINER, "gpu-check", lines)
    return 1 if any("FAIL" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
