"""Work spread over processes, with its progress shown and its interruptions made safe."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any, TypeVar

import joblib
from joblib.externals.loky import ProcessPoolExecutor, get_reusable_executor
from joblib.externals.loky.backend import resource_tracker as loky_tracker
from tqdm import tqdm

from primitives.fields import Integer

T = TypeVar("T")
_LINES_EVERY_S = 5.0
_WATCH_EVERY_S = 0.5
_NOTICE_S = 5.0
_IDLE_S = 300.0
_QUIET = "ignore:resource_tracker:UserWarning"
"""With this the trackers start: they clean up after a killed worker, of which there is nothing to say."""
_STOPS = {signal.SIGINT, signal.SIGTERM}
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""What libraries ask how many threads to start; a worker needs one."""


class WorkerDied(ChildProcessError):
    """A worker process ended in the midst of its work: killed by the system for want of memory, by hand, or by a fault."""


def count_workers(workers: int | None) -> int:
    """Return how many workers to run, 1..1,024: as many as this process may use processors if None."""
    return joblib.cpu_count() if workers is None else Integer(1, 1024).check("--workers", workers)


def _start_worker(parent: int) -> None:
    """Make a worker leave Ctrl-C, which a terminal sends to every process, to the parent, and not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_EVERY_S)
    os._exit(1)


@contextmanager
def in_parallel(
    function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], workers: int, ordered: bool = False
) -> Iterator[Iterator[T]]:
    """Give the results of `function(*task)` for each task, as they are done or in the tasks' order.

    Tasks are taken from the iterable, which may be endless, as workers become free. The end of the block waits for those
    that are under way; an exception inside it ends the workers at once.

    Raises
    ------
    WorkerDied
        A worker process ended in the midst of its work.
    """
    if workers == 1 or multiprocessing.current_process().daemon:  # a daemon may have no children
        yield (function(*task) for task in tasks)
        return
    executor: ProcessPoolExecutor | None = None
    pending: deque[Future[T]] = deque()
    try:
        with _unbroken():
            executor = _ready_workers(workers)
        yield _results(executor, function, tasks, pending, 2 * workers, ordered)
        with _unbroken():
            for unwanted in pending:
                unwanted.cancel()
            wait(pending)
    except BaseException as error:
        if executor is not None:
            with _unbroken():
                _abandon(executor, pending)
        if isinstance(error, BrokenProcessPool):
            codes = re.search(r"\{(.*)\}", str(error))
            how = f" ({codes[1]})" if codes else ""
            raise WorkerDied(
                f"a worker process ended unexpectedly{how}; if memory ran out, use fewer workers"
            ) from None
        raise


@contextmanager
def _unbroken() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM: an exception in the midst of an executor's calls would leave its locks locked.

    Processes that are started meanwhile inherit that both are blocked. Python runs handlers in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = {number: signal.getsignal(number) for number in _STOPS}
    try:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, lambda number, frame: caught.append(number))
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])


def _ready_workers(workers: int) -> ProcessPoolExecutor:
    """Return the executor, whose workers start with its first task if they do not run yet."""
    sys.warnoptions.append(_QUIET)
    try:
        for tracker in (resource_tracker, loky_tracker):  # each unblocks the signals when it starts
            tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    finally:
        sys.warnoptions.remove(_QUIET)
    return get_reusable_executor(
        workers, timeout=_IDLE_S, initializer=_start_worker, initargs=(os.getpid(),), env=dict.fromkeys(_THREADS, "1")
    )


def _results(
    executor: ProcessPoolExecutor,
    function: Callable[..., T],
    tasks: Iterable[tuple[Any, ...]],
    pending: deque[Future[T]],
    window: int,
    ordered: bool,
) -> Iterator[T]:
    """Keep `window` tasks pending and yield their results."""
    done: SimpleQueue[Future[T]] = SimpleQueue()
    finished: set[Future[T]] = set()

    def _take() -> T:
        if not ordered:
            future = done.get()
            pending.remove(future)
            return future.result()
        while pending[0] not in finished:
            finished.add(done.get())
        finished.remove(pending[0])
        return pending.popleft().result()

    for task in tasks:
        with _unbroken():
            pending.append(executor.submit(function, *task))
            pending[-1].add_done_callback(done.put)
        if len(pending) == window:
            yield _take()
    while pending:
        yield _take()


def _abandon(executor: ProcessPoolExecutor, pending: deque[Future[T]]) -> None:
    """End the workers at once, whatever they are at.

    They are killed first, and the executor shut down when it has seen it: its own way to kill them loses its head if a
    task was submitted a moment ago. If one died in the midst of handing over a result, the pipe's end tells so.
    """
    for worker in list(executor._processes.values()):
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
    if wait(pending, timeout=_NOTICE_S).not_done:
        executor._result_queue._writer.close()
    executor.shutdown(wait=True, kill_workers=True)


class Progress:
    """On standard error, a bar if it is a terminal, else a plain line every few seconds; nothing unless `show`."""

    def __init__(self, total: int, unit: str, label: str, show: bool, found: int = 0) -> None:
        self._found = found
        self._total, self._unit, self._label, self._lines = total, unit, label, show and not sys.stderr.isatty()
        self._done, self._start = 0, time.monotonic()
        self._spoke = self._start
        bar = show and total > found and not self._lines
        self._bar = tqdm(total=total, initial=found, unit=f" {unit}", desc=label) if bar else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def rate(self) -> float:
        """Units a second since the start."""
        return self._done / max(time.monotonic() - self._start, 1e-9)

    def advance(self, n: int) -> None:
        """Count `n` more units as done."""
        self._done += n
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(n)
        elif self._lines and now - self._spoke >= _LINES_EVERY_S:
            self._spoke = now
            done = self._found + self._done
            left = f", {duration((self._total - done) / self.rate)} left" if self._done else ""
            line = f"{self._label}: {done:,} of {self._total:,} {self._unit}, {self.rate:,.0f} {self._unit}/s{left}"
            print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time span for people: `12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
