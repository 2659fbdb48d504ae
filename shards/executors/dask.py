"""Runs tasks on the workers of a Dask cluster."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic

from fdsl.dataset.spec import difference
from fdsl.primitives.errors import InputError, extra_hint, note_machine
from fdsl.version import shared_versions
from shards.executors.contract import Done, Failed, Item, Outcomes, Result, WorkerDied, result_elsewhere

if TYPE_CHECKING:
    from distributed import Client, Future, KilledWorker

_UNFIT = "fdsl"
"""Name of the package whose ImportError says that a worker lacks it or has other versions."""

_TICK_S = 1.0
"""Longest time until new workers and a lost scheduler are noticed."""


class DaskExecutor:
    """Runs tasks on the workers of a Dask cluster.

    The task of a worker that dies is retried. Workers that join during a run are used. A scheduler that restarts gets the
    unfinished tasks again. Certificates and time limits are those of Dask's configuration.

    Parameters
    ----------
    scheduler : address, tcp://HOST:8786 or tls://HOST:8786
    patience_s : seconds without a worker after which a run ends

    Raises
    ------
    InputError
        Dask is not installed.
    """

    def __init__(self, scheduler: str, patience_s: float = 300.0) -> None:
        try:
            import distributed  # noqa: F401
        except ModuleNotFoundError:
            raise InputError(f"Dask is missing here; {extra_hint('dask')}") from None
        self.scheduler, self.patience_s = scheduler, patience_s

    def run(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        """Yield the outcome of each item, as they finish; see `Executor.run`.

        Raises
        ------
        InputError
            The address is wrong, or a worker lacks this package or has other versions.
        ConnectionError
            The scheduler does not answer, or has no workers.
        """
        with closing(self._connect()) as client:
            yield from _Run(client, task, self.patience_s).outcomes(items)

    def _connect(self) -> Client:
        from distributed import Client

        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # its errors are raised here
        gc.collect()  # a client that failed before takes, when it is collected, the lock that a new one holds: for ever
        collects = gc.isenabled()
        gc.disable()
        try:
            try:
                return Client(self.scheduler, set_as_default=False)
            except AssertionError:  # Dask gives its own thread ten seconds to start, which a busy machine may exceed
                return Client(self.scheduler, set_as_default=False)
        except OSError:
            raise ConnectionError(f"no Dask scheduler answers at {self.scheduler}") from None
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"`scheduler` (={self.scheduler}) is not usable: {error}") from None
        finally:
            if collects:
                gc.enable()


@dataclass(frozen=True)
class _Try(Generic[Item]):
    """An item, and whether it is suspected of killing workers."""

    item: Item
    is_suspect: bool = False


class _Run(Generic[Item, Result]):
    """One call of `DaskExecutor.run`.

    When a worker dies, the scheduler blames every task that waits on it, and fails those that it has blamed four times. They
    are retried one at a time, which isolates the item that kills its worker.
    """

    def __init__(self, client: Client, task: Callable[[Item], Result], patience_s: float) -> None:
        self._client, self._task, self._patience_s = client, task, patience_s
        self._pending: dict[Future[Result], _Try[Item]] = {}
        self._done: SimpleQueue[Future[Result]] = SimpleQueue()
        self._again: list[_Try[Item]] = []
        self._suspects: list[_Try[Item]] = []
        self._checked: set[str] = set()
        self._seen_workers_at = time.monotonic()

    def outcomes(self, items: Iterable[Item]) -> Outcomes[Item, Result]:
        """Yield the outcome of each item, as they finish."""
        waiting = map(_Try[Item], items)
        while True:
            n_cores = self._n_cores()
            self._submit_next(waiting, 2 * n_cores)
            if n_cores and not self._pending:
                return
            try:
                future = self._done.get(timeout=_TICK_S)
            except Empty:
                continue
            if (outcome := self._outcome(future)) is not None:
                yield outcome

    def _n_cores(self) -> int:
        """Return the number of cores of all workers.

        0 while the connection to the scheduler is lost; the client restores it. Checks workers that are new.
        """
        if self._client.status == "closed":
            raise ConnectionError("the Dask scheduler is gone and did not come back")
        try:
            cores = self._client.ncores() if self._client.status == "running" else {}
            self._check(cores.keys() - self._checked)
        except OSError:
            cores = {}
        if cores:
            self._seen_workers_at = time.monotonic()
        elif time.monotonic() - self._seen_workers_at > self._patience_s:
            raise ConnectionError(f"the Dask scheduler has had no worker for {self._patience_s:.0f} s")
        return sum(cores.values())

    def _check(self, workers: Collection[str]) -> None:
        """Raise InputError if a worker lacks this package or has other versions."""
        if not workers:
            return
        for worker, versions in self._client.run(shared_versions, workers=list(workers), on_error="return").items():
            if isinstance(versions, OSError):
                continue  # it has just gone
            if isinstance(versions, Exception):
                raise InputError(f"the worker at {worker} cannot import fdsl: {versions}; install it there")
            if differs := difference(versions, shared_versions()):
                raise InputError(f"the worker at {worker} has other versions: {differs}; install the same everywhere")
            self._checked.add(worker)

    def _submit_next(self, waiting: Iterator[_Try[Item]], n_wanted: int) -> None:
        """Submit until `n_wanted` are pending, or one suspect if none is."""
        if any(attempt.is_suspect for attempt in self._pending.values()):
            return
        if self._suspects:
            if n_wanted and not self._pending:
                self._submit(self._suspects.pop())
            return
        while self._again and len(self._pending) < n_wanted:
            self._submit(self._again.pop())
        for attempt in islice(waiting, max(0, n_wanted - len(self._pending))):
            self._submit(attempt)

    def _submit(self, attempt: _Try[Item]) -> None:
        """Submit a task as bytes.

        The scheduler needs only Dask, and must not open a dataset. A worker that has just joined may not be checked yet, so
        it compares the versions before it opens the bytes.
        """
        from distributed.protocol.pickle import dumps, loads

        def run(content: bytes, versions: dict[str, str]) -> Any:
            try:
                from fdsl.version import shared_versions

                is_fit = shared_versions() == versions
            except ImportError:
                is_fit = False
            if not is_fit:
                raise ImportError("other versions", name=_UNFIT)
            return loads(content)()

        content = dumps(partial(result_elsewhere, self._task, attempt.item))
        future = self._client.submit(run, content, shared_versions(), pure=False)
        self._pending[future] = attempt
        future.add_done_callback(self._done.put)

    def _outcome(self, future: Future[Result]) -> Done[Item, Result] | Failed[Item] | None:
        """Return the outcome of a future.

        None if its item is tried again.
        """
        from distributed import CancelledError, KilledWorker

        attempt = self._pending.pop(future)
        try:
            return Done(attempt.item, future.result(_TICK_S))
        except CancelledError:  # with the scheduler that was lost
            (self._suspects if attempt.is_suspect else self._again).append(attempt)
        except KilledWorker as error:
            if attempt.is_suspect:
                return Failed(attempt.item, _worker_died(error))
            self._suspects.append(_Try(attempt.item, is_suspect=True))
        except Exception as error:
            if isinstance(error, ImportError) and error.name == _UNFIT:
                self._again.append(attempt)
                self._checked.clear()  # one may have restarted at its address; the next check names it
                return None
            if future.status == "error" or not isinstance(error, OSError):
                return Failed(attempt.item, error)
            self._pending[future] = attempt  # the worker that held the result has died; the task runs again
            self._done.put(future)
        return None


def _worker_died(error: KilledWorker) -> WorkerDied:
    """Return the error of an item that kills its workers."""
    died = WorkerDied(
        f"{error.allowed_failures + 1} workers died on the same task, the last at {error.last_worker.address}, whose log"
        " says why; if memory ran out, give each worker more"
    )
    note_machine(died, error.last_worker.host)
    return died
