"""The contract of an executor."""

from __future__ import annotations

import copy
import socket
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from fdsl.primitives.errors import InputError, note_machine
from fdsl.primitives.validation import shown

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """An item and the result of its task."""

    item: Item
    result: Result


@dataclass(frozen=True)
class Failed(Generic[Item]):
    """An item and the exception that ended its task."""

    item: Item
    error: Exception


Outcomes = Generator[Done[Item, Result] | Failed[Item], None, None]
"""The outcome of each item, as they finish."""


class WorkerDied(ChildProcessError):
    """A worker process was killed or crashed during a task."""


@runtime_checkable
class Executor(Protocol):
    """Runs a task for many items."""

    def run(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        """Yield the outcome of `task(item)` for each item, as they finish.

        A failed item does not end the others. Items are taken as workers become free, so there may be endlessly many. A task
        may run more than once for an item, so it must be idempotent. Closing the iterator ends the work.

        Parameters
        ----------
        task : picklable; its result, too
        items : picklable each
        """


def require_executor(executor: object) -> None:
    """Raise InputError if an argument is not an executor."""
    if not isinstance(executor, Executor):
        raise InputError(f"`executor` (={shown(executor)}) must be an executor, such as LocalExecutor(2)")


def result_of(task: Callable[[Item], Result], item: Item) -> Result:
    """Return the result of a task in a worker.

    An exception that cannot be rebuilt in another process becomes a RuntimeError.
    """
    try:
        return task(item)
    except Exception as error:
        try:
            copy.deepcopy(error)
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise


def result_elsewhere(task: Callable[[Item], Result], item: Item) -> Result:
    """Return the result of a task.

    An error gets a note with this machine's name.
    """
    try:
        return result_of(task, item)
    except Exception as error:
        note_machine(error, socket.gethostname())
        raise
