"""The processes of a run: how they find each other, what device each has, and how one of them ends with a line."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
import torch.distributed as dist
from info import DataError

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
        try:
            dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=minutes)
        except dist.DistError as error:
            where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise DataError(
                f"the processes cannot meet at {where}: {error}; give torchrun --standalone, or another --rdzv-endpoint"
            ) from None
    return Place(rank, world, torch.device(device, torch.cuda.current_device() if device == "cuda" else None))


def seed_all(*numbers: int) -> None:
    """Make all that is random on this process from now on a function of some numbers."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Stop:
    """Whether SIGTERM came, by which clusters take machines back: the run is to save and end."""

    def __init__(self) -> None:
        self.is_asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.is_asked = True


def fail(message: str) -> NoReturn:
    """Say what is wrong, once, and end this process: the first rank at once, another if the first does not end them all."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if int(os.environ.get("RANK", 0)) > 0:
        time.sleep(_FIRST_S)
    (*_, message) = message.strip().splitlines()  # a loader worker's comes with its traceback before it
    message = message.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")
    print(f"{Path(sys.argv[0]).stem}: {message}", file=sys.stderr, flush=True)
    os._exit(1)
