"""The processes of a run: how they find each other, what device each has, and how one of them ends with a line."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import random
import signal
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TextIO

import numpy as np
import torch
import torch.distributed as dist
from info import DataError

_PLACES = (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0))
_STUCK = timedelta(minutes=10)
"""How long a process waits for the others in the midst of training."""
_PREPARING = timedelta(hours=6)
"""How long it waits for the first one to find the samples, which may be many millions on a slow disk."""
_PATIENCE_S = 5.0
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exit")


@dataclasses.dataclass(frozen=True)
class Place:
    """Which process this is, of how many, and its device; `control` is the group in which all may wait for long."""

    rank: int
    world: int
    device: torch.device
    control: Any = None

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def from_first(self, value: Any) -> Any:
        """Return the first process's value on all of them."""
        if self.world == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, group=self.control)
        return said[0]


def join(device: str) -> Place:
    """Join the other processes that were started, if any: NCCL on GPUs, gloo on CPUs."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DataError(
            "`--device` (=cuda): no GPU, or a torch without CUDA; give --device cpu, or install torch with CUDA"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    world, rank, local = (_number(name, value) for name, value in _PLACES)
    if not 0 <= rank < world:
        raise DataError(f"`RANK` (={rank}) must be in 0..{world - 1}, for `WORLD_SIZE` is {world}; start.py sets both")
    if device == "cuda" and world > 1 and "LOCAL_RANK" not in os.environ:
        raise DataError("`LOCAL_RANK` is not set, which says what GPU a process has; start.py sets it")
    place = torch.device("cpu")
    if device == "cuda":
        n_gpus = torch.cuda.device_count()
        if local >= n_gpus:
            raise DataError(
                f"process {local} of this machine has no GPU: there are {n_gpus}; give --nproc-per-node {n_gpus}"
            )
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
        torch.set_float32_matmul_precision("high")
    if world == 1:
        return Place(rank, world, place)
    try:
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_STUCK)
        return Place(rank, world, place, dist.new_group(backend="gloo", timeout=_PREPARING))
    except (dist.DistError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise DataError(
            f"the processes cannot meet at {where}: {error}; give --standalone, or another --master-port"
        ) from None


def _number(name: str, value: int) -> int:
    """Return what a starter has set, or a value if none did."""
    try:
        return int(os.environ.get(name, value))
    except ValueError:
        raise DataError(f"`{name}` (={os.environ[name]}) must be a whole number; start.py sets it") from None


def seed_all(*numbers: int) -> None:
    """Make all that is random on this process from now on a function of some numbers."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Stop:
    """Whether SIGTERM, by which clusters take machines back, or Ctrl-C came: the run is to save and end.

    Once more, some seconds later, either ends the run at once: a second Ctrl-C reaches started processes as SIGTERM.
    """

    last: ClassVar[int] = 0
    """The signal that came last, if any."""

    def __init__(self) -> None:
        self.is_asked, self.status, self._since = False, 128 + signal.SIGTERM, 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        Stop.last = number
        if self.is_asked and time.monotonic() - self._since > _PATIENCE_S:
            raise KeyboardInterrupt
        if not self.is_asked:
            self.is_asked, self.status, self._since = True, 128 + number, time.monotonic()
            if number == signal.SIGINT and int(os.environ.get("RANK", 0)) == 0:
                said = f"stopping, and saving first; once more after {_PATIENCE_S:.0f} s ends it unsaved"
                os.write(sys.stderr.fileno(), f"{_line(said)}\n".encode())

    def is_due(self, place: Place) -> bool:
        """Whether to stop at once: processes that are one of many ask the others first, when they log."""
        return self.is_asked and place.world == 1


def _line(message: str) -> str:
    """Return a message with the program's name before it, in the place of the line of progress on a terminal."""
    return f"{chr(13) + chr(27) + '[K' if sys.stderr.isatty() else ''}{Path(sys.argv[0]).stem}: {message}"


def end(status: int) -> NoReturn:
    """End this process at once: its loader workers see that it is gone, and nothing is waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def interrupt(number: int, frame: object) -> NoReturn:
    """End what is going on, as Python does at Ctrl-C; before there is a `Stop`."""
    Stop.last = number
    raise KeyboardInterrupt


def give_way(of_all: bool = False) -> None:
    """Let the first process, or one `of_all`, say what is wrong, and the starter end this one before it says the same.

    A starter ends those of its machine only, of which the first does not wait as long as the others.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    waits = (of_all or os.environ.get("RANK", "0") != "0", os.environ.get("LOCAL_RANK", "0") != "0")
    time.sleep(_PATIENCE_S * sum(waits))


def crash() -> NoReturn:
    """End this process with the traceback of what nobody thought of, loader workers or not."""
    give_way()
    traceback.print_exc()
    end(1)


def free_cores() -> int:
    """Return how many cores each of the processes on this machine has to itself."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return n_cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def hold(out: Path) -> TextIO:
    """Return a lock on a run's directory, which no other run can take before this process ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise DataError(f"`--out` (={out}) cannot be written: {error.strerror}; give another directory") from None
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not inherited by loader workers, which may outlive it
    except (BlockingIOError, PermissionError):
        raise DataError(f"`--out` (={out}) is another run's, which goes on; give another directory") from None
    except OSError as error:
        print(
            f"no lock on {out}, whose file system has none ({error.strerror}): let no two runs share it",
            file=sys.stderr,
        )
    return lock


def leave(place: Place, message: str, status: int) -> NoReturn:
    """End all processes, once the first has said why."""
    if place.is_first:
        print(_line(message), file=sys.stderr)
    place.from_first("said")
    end(status)


def fail(message: str) -> NoReturn:
    """Say what is wrong, once, and end this process."""
    give_way()
    (*_, message) = message.strip().splitlines()  # a loader worker's comes with its traceback before it
    message = message.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")
    print(_line(message), file=sys.stderr)
    end(1)


def is_lost(error: Exception) -> bool:
    """Return whether an error says that the connection to another process is gone."""
    return any(text in str(error) for text in _GONE)


def lost() -> NoReturn:
    """End this process, whose connection to another is gone: that one says why, or the starter does, and ends this one."""
    if not Stop.last:
        give_way(of_all=True)
        said = "another process has ended, and says why unless it was killed; the same command with --resume goes on"
        print(_line(said), file=sys.stderr)
    end(1)
