"""The processes of a run: how they find each other, what device each has, and how one of them ends with a line."""

from __future__ import annotations

import dataclasses
import os
import random
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
import torch.distributed as dist
from data import DataError

_FIRST_S = 5.0


@dataclasses.dataclass(frozen=True)
class Place:
    """Which process this is, of how many, and its device."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


def join(device: str) -> Place:
    """Join the other processes that torchrun started, if any: NCCL on GPUs, gloo on CPUs."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DataError(
            "`--device` (=cuda): no GPU, or a torch without CUDA; give --device cpu, or install torch with CUDA"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    if world > 1:
        minutes = timedelta(minutes=10 if device == "cuda" else 5)
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=minutes)
    return Place(rank, world, torch.device(device, torch.cuda.current_device() if device == "cuda" else None))


def seed_all(*numbers: int) -> None:
    """Make all that is random on this process from now on a function of some numbers."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def fail(message: str) -> NoReturn:
    """Say what is wrong, once, and end this process: the first rank at once, another if the first does not end them all."""
    if int(os.environ.get("RANK", 0)) > 0:
        time.sleep(_FIRST_S)
    print(f"{Path(sys.argv[0]).stem}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    os._exit(1)
