"""Runs tasks on processes of this machine, with loky."""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from operator import length_hint
from queue import SimpleQueue
from typing import Generic

from joblib.externals.loky import ProcessPoolExecutor, get_reusable_executor
from joblib.externals.loky.backend import resource_tracker as loky_tracker

from fdsl.primitives.errors import InputError
from shards.events import ItemsRetried, Listener, ignore
from shards.executors.contract import Done, Failed, Item, Outcomes, Result, WorkerDied, result_of
from shards.executors.processors import n_processors
from shards.executors.signals import STOPS, uninterrupted

MAX_WORKERS = 1024
_WATCH_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1
"""Asks Linux to kill this process when its parent ends, even if it is stopped (linux/prctl.h)."""
_GRACE_S = 5.0
_IDLE_S = 300.0
_MAX_DEATHS = 2
"""Deaths of workers after which a pending item runs alone."""
_NO_SEMAPHORES = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOENT, errno.ENOSYS)
_QUIET = ["ignore:resource_tracker:UserWarning", "ignore::UserWarning:joblib._multiprocessing_helpers"]
"""Silences resource trackers, which warn when they clean up after a killed worker and when there are no semaphores."""
_STOPPED = "A worker stopped while some jobs"
"""Start of loky's warning that it replaces a worker. Raised as an error, it would end the thread that manages the pool."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Number of threads that libraries start. A worker needs one."""


class LocalExecutor:
    """Runs tasks on processes of this machine.

    With one worker, tasks run in this process. A task whose worker dies is retried.

    Parameters
    ----------
    n_workers : 1 .. 1,024; one per available processor if None
    listener : called when tasks are retried

    Raises
    ------
    InputError
        `n_workers` is out of range.
    """

    def __init__(self, n_workers: int | None = None, listener: Listener = ignore) -> None:
        if n_workers is not None and (type(n_workers) is not int or not 1 <= n_workers <= MAX_WORKERS):
            raise InputError(f"`n_workers` (={n_workers!r}) must be a whole number in 1..{MAX_WORKERS:,}")
        self.n_workers: int = n_processors() if n_workers is None else n_workers
        self._listener = listener

    def run(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        """Yield the outcome of each item, as they finish; see `Executor.run`."""
        n_workers = min(self.n_workers, max(1, length_hint(items, self.n_workers)))
        if n_workers == 1 or multiprocessing.current_process().daemon:  # a daemon may not have children
            return (_outcome(task, item) for item in items)
        return _Run(task, n_workers, self._listener).outcomes(items)


def _outcome(task: Callable[[Item], Result], item: Item) -> Done[Item, Result] | Failed[Item]:
    """Return the outcome of a task in this process."""
    try:
        return Done(item, result_of(task, item))
    except Exception as error:
        return Failed(item, error)


@dataclass
class _Try(Generic[Item]):
    """An item, and the number of workers that died with it."""

    item: Item
    n_deaths: int = 0


class _Run(Generic[Item, Result]):
    """One call of `LocalExecutor.run`.

    When a worker dies, loky fails all pending items. They are retried together. Items that fail twice are retried one at a
    time, which isolates the item that kills its worker.
    """

    def __init__(self, task: Callable[[Item], Result], n_workers: int, listener: Listener) -> None:
        self._task, self._n_workers, self._listener = task, n_workers, listener
        self._pool: ProcessPoolExecutor | None = None
        self._pending: dict[Future[Result], _Try[Item]] = {}
        self._done: SimpleQueue[Future[Result]] = SimpleQueue()
        self._suspects: list[_Try[Item]] = []

    def outcomes(self, items: Iterable[Item]) -> Outcomes[Item, Result]:
        """Yield the outcome of each item, as they finish."""
        waiting = iter(items)
        try:
            while True:
                self._submit_next(waiting)
                if not self._pending:
                    return
                if (outcome := self._next_outcome()) is not None:
                    yield outcome
        except GeneratorExit:
            self._finish()
            raise
        except BaseException:
            with uninterrupted():
                self._kill()
            raise

    def _submit_next(self, waiting: Iterator[Item]) -> None:
        """Submit the next items.

        That is as many as keep the workers busy, or one suspect once nothing else is pending.
        """
        if self._suspects:
            if not self._pending:
                self._submit(self._suspects.pop())
            return
        if any(attempt.n_deaths >= _MAX_DEATHS for attempt in self._pending.values()):
            return  # a suspect is being tried alone
        for item in islice(waiting, max(0, 2 * self._n_workers - len(self._pending))):
            self._submit(_Try(item))

    def _submit(self, attempt: _Try[Item]) -> None:
        with uninterrupted():
            try:
                if self._pool is None:
                    self._pool = _ready_pool(self._n_workers)
                future = self._pool.submit(result_of, self._task, attempt.item)
            except BrokenProcessPool as error:
                future = Future()
                future.set_exception(error)
            except OSError as error:
                raise _with_place(error) from None
            self._pending[future] = attempt
            future.add_done_callback(self._done.put)

    def _next_outcome(self) -> Done[Item, Result] | Failed[Item] | None:
        """Wait for an item and return its outcome.

        None if its worker died and it is retried.
        """
        future = self._done.get()
        attempt = self._pending.pop(future)
        try:
            return Done(attempt.item, future.result())
        except BrokenProcessPool as error:
            if attempt.n_deaths >= _MAX_DEATHS:
                self._drain()
                return Failed(attempt.item, _worker_died(error))
            self._retry([attempt, *self._drain()])
            return None
        except Exception as error:
            return Failed(attempt.item, error)

    def _retry(self, attempts: list[_Try[Item]]) -> None:
        """Retry items that were pending when a worker died.

        The first time together, then one at a time.
        """
        self._listener(ItemsRetried(len(attempts), "a worker process died"))
        for attempt in attempts:
            attempt.n_deaths += 1
        self._suspects += [attempt for attempt in attempts if attempt.n_deaths >= _MAX_DEATHS]
        for attempt in attempts:
            if attempt.n_deaths < _MAX_DEATHS:
                self._submit(attempt)

    def _drain(self) -> list[_Try[Item]]:
        """Discard a broken pool; return its unfinished items."""
        with uninterrupted():
            self._kill()
        finished = [future for future in self._pending if future.done() and not future.exception()]
        unfinished = [attempt for future, attempt in self._pending.items() if future not in finished]
        self._pending = {future: self._pending[future] for future in finished}
        self._done = SimpleQueue()
        for future in finished:
            self._done.put(future)
        return unfinished

    def _finish(self) -> None:
        """Cancel tasks that have not begun; wait briefly for the others."""
        with uninterrupted():
            for future in self._pending:
                future.cancel()
            if wait(self._pending, timeout=_GRACE_S).not_done:
                self._kill()

    def _kill(self) -> None:
        """Kill the workers.

        loky's `kill_workers` fails if a task was just submitted, so they are killed first. If one dies while it hands over a
        result, closing the pipe wakes the pool.
        """
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for worker in list(pool._processes.values()):
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
        if wait(self._pending, timeout=_GRACE_S).not_done:
            pool._result_queue._writer.close()
        pool.shutdown(wait=True, kill_workers=True)


def _worker_died(error: BrokenProcessPool) -> WorkerDied:
    """Return the error of an item that kills its workers."""
    codes = re.search(r"\{(.*)\}", str(error))
    cause = f" ({codes[1]})" if codes else ""
    n_tries = _MAX_DEATHS + 1
    return WorkerDied(
        f"a worker process died {n_tries} times on the same task{cause}; if memory ran out, use fewer workers"
    )


def _with_place(error: OSError) -> OSError:
    """Return the error of a pool that did not start.

    If it is about semaphores, it names their folder.
    """
    if error.filename is not None or error.errno not in _NO_SEMAPHORES:
        return error
    advice = f"{error.strerror}: worker processes need semaphores there; one worker needs none"
    return OSError(error.errno, advice, "/dev/shm")


def _ready_pool(n_workers: int) -> ProcessPoolExecutor:
    """Return this process's pool; workers start with the first task."""
    warnings.filterwarnings("ignore", _STOPPED, UserWarning)
    sys.warnoptions += _QUIET
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        for tracker in (resource_tracker, loky_tracker):  # starting one unblocks the signals
            tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        del sys.warnoptions[-len(_QUIET) :]
    return get_reusable_executor(
        n_workers,
        timeout=_IDLE_S,
        initializer=_start_worker,
        initargs=(os.getpid(), threading.current_thread() is threading.main_thread()),
        env=dict.fromkeys(_THREADS, "1"),
    )


def _start_worker(parent: int, is_from_main_thread: bool) -> None:
    """Prepare a worker process.

    Ignores Ctrl-C, which a terminal sends to every process and which the parent handles. Ends the worker with its parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    if is_from_main_thread and sys.platform == "linux":  # the signal comes when this thread ends, not the process
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_EVERY_S)
    os._exit(1)
