"""Ranks, their devices, the lock of a run."""

import fcntl
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import torch
import torch.distributed as dist

from trainer.errors import InputError, report


@dataclass(frozen=True)
class Ranks:
    """Rank, number of ranks, device, and a gloo group."""

    rank: int
    world_size: int
    device: torch.device
    control: Any = None

    def from_first(self, compute: Callable[[], Any]) -> Any:
        """Compute on rank 0 for all.

        An InputError there ends every rank.
        """
        values = []
        if self.rank == 0:
            try:
                values = [compute()]
            except InputError as error:
                report(error)
        if self.world_size > 1:
            messages = [values]
            dist.broadcast_object_list(messages, group=self.control)
            values = messages[0]
        return values[0] if values else sys.exit(1)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether any rank's flag is set."""
        flags = torch.tensor(int(flag))
        if self.world_size > 1:
            dist.all_reduce(flags, dist.ReduceOp.MAX, group=self.control)
        return bool(flags)


def join(device: str) -> Ranks:
    """Join the other ranks by NCCL or gloo."""
    world_size, rank, local = (int(os.environ.get(name, 0)) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    place = torch.device("cpu")
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        if local >= (n_gpus := torch.cuda.device_count()):
            raise InputError(f"`--device` (=cuda): process {local} has no GPU, torch sees {n_gpus}; try --device cpu")
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
        torch.set_float32_matmul_precision("high")
    if world_size <= 1:
        return Ranks(0, 1, place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    patience = timedelta(hours=6)  # rank 0 may index millions of samples meanwhile
    return Ranks(rank, world_size, place, dist.new_group(backend="gloo", timeout=patience))


def lock(out: Path) -> TextIO:
    """Create and lock a run's directory.

    Two jobs that resume one run would overwrite each other.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = (out / ".lock").open("w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # loader workers do not inherit it
    except (BlockingIOError, PermissionError):
        raise InputError(
            f"`--out` (={out}) is in use by another run; wait for its end or give another directory"
        ) from None
    except OSError:  # this file system has no locks
        return file
    for left in out.glob(".*.tmp"):  # by a killed run
        left.unlink()
    return file
