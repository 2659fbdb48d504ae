"""Tasks that every executor's workers can import."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import NamedTuple, NoReturn


def square(number: int) -> int:
    """Return the square."""
    return number * number


def process_number(number: int) -> int:
    """Return the number of this process."""
    return os.getpid()


def refuse_multiples_of_3(number: int) -> int:
    """Return the square; fail for every third number."""
    if number % 3 == 0:
        raise OSError(28, "No space left on device", f"shard {number}")
    return number * number


class TwoArgumentsError(Exception):
    """Pickles, but cannot be rebuilt from its arguments."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"{name} must be {rule}")


class LockError(Exception):
    """Does not pickle."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


def raise_unpicklable(number: int) -> int:
    """Fail for 1 and 2 with exceptions that cannot travel between processes."""
    if number == 1:
        raise TwoArgumentsError("number", "other than 1")
    if number == 2:
        raise LockError("number must be other than 2")
    return number


class Meeting(NamedTuple):
    """Files by which tasks wait for each other."""

    wait_for: Path | None
    announce: Path | None


def meet(meeting: Meeting) -> Meeting:
    """Announce that this task runs, then wait for another one."""
    if meeting.announce is not None:
        meeting.announce.touch()
    while meeting.wait_for is not None and not meeting.wait_for.exists():
        time.sleep(0.01)
    return meeting


def die_once(marker: Path) -> str:
    """Kill this worker in the first try of this item."""
    if not marker.exists():
        marker.touch()
        kill_this_process()
    return marker.name


def die_for_13(number: int) -> int:
    """Kill this worker for one item, always."""
    if number == 13:
        kill_this_process()
    return number


class Company(NamedTuple):
    """An item of a Dask worker, and a folder in which its deaths are counted."""

    number: int
    deaths: Path


def die_in_company(item: Company) -> int:
    """Kill this Dask worker for item 13, always; the first two times only when another task waits on the worker."""
    from distributed import get_worker

    if item.number == 13:
        while len(list(item.deaths.iterdir())) < 2 and len(get_worker().state.tasks) < 2:
            time.sleep(0.01)
        (item.deaths / str(os.getpid())).touch()
        kill_this_process()
    return item.number


def kill_this_process() -> NoReturn:
    """End at once, as the kernel ends a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
