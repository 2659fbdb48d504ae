"""Local processes: workers that die, Ctrl-C, and signals held back."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from fdsl import InputError, LocalExecutor, WorkerDied
from shards.events import Event, ItemsRetried
from shards.executors.contract import Done, Failed
from shards.executors.processors import n_processors
from shards.executors.signals import uninterrupted
from tests.processes import PATIENCE_S, as_in_a_shell, descendants, kill_all, running, wait_for, workers_of
from tests.shards.executors.tasks import die_for_13, die_once


@pytest.mark.parametrize("n_workers", [0, -1, 1025])
def test_number_of_workers_has_limits(n_workers: int) -> None:
    with pytest.raises(InputError, match=rf"`n_workers` \(={n_workers}\) must be a whole number in 1..1,024"):
        LocalExecutor(n_workers)


def test_default_is_one_worker_per_processor() -> None:
    assert LocalExecutor().n_workers == n_processors()


@pytest.mark.slow
def test_item_of_killed_worker_is_retried(tmp_path: Path) -> None:
    markers = [tmp_path / str(number) for number in range(10)]
    for marker in markers[:4] + markers[5:]:
        marker.touch()
    events: list[Event] = []
    outcomes = list(LocalExecutor(2, events.append).run(die_once, markers))
    assert markers[4].exists()
    (retried,) = events
    assert isinstance(retried, ItemsRetried)
    assert 1 <= retried.n_items <= 4
    assert retried.reason == "a worker process died"
    assert sorted(outcomes, key=lambda outcome: outcome.item) == [Done(marker, marker.name) for marker in markers]


@pytest.mark.slow
def test_two_deaths_are_survived(tmp_path: Path) -> None:
    markers = [tmp_path / str(number) for number in range(10)]
    for marker in markers[1:9]:
        marker.touch()
    outcomes = list(LocalExecutor(2).run(die_once, markers))
    assert sorted(outcomes, key=lambda outcome: outcome.item) == [Done(marker, marker.name) for marker in markers]


@pytest.mark.slow
def test_killing_item_fails_alone() -> None:
    outcomes = {outcome.item: outcome for outcome in LocalExecutor(2).run(die_for_13, range(30))}
    assert outcomes.keys() == set(range(30))
    failed = outcomes.pop(13)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, WorkerDied)
    assert "died 3 times" in str(failed.error)
    assert "use fewer workers" in str(failed.error)
    assert outcomes == {number: Done(number, number) for number in outcomes}


@pytest.mark.slow
def test_killing_item_fails_among_endless_ones() -> None:
    with closing(LocalExecutor(2).run(die_for_13, itertools.count())) as outcomes:
        failed = next(outcome for outcome in outcomes if isinstance(outcome, Failed))
        assert failed.item == 13
        assert isinstance(failed.error, WorkerDied)
        assert isinstance(next(outcomes), Done)


WORKERS_STOP = """
import warnings
from shards.executors import local
from tests.shards.executors.tasks import square
warnings.simplefilter("error")
local._IDLE_S = 0.001
for _ in range(20):
    assert len(list(local.LocalExecutor(2).run(square, range(30)))) == 30
"""


@pytest.mark.slow
def test_idle_workers_that_stop_are_replaced() -> None:
    """A worker that stops just when a task comes makes loky warn in the thread that manages the pool."""
    command = [sys.executable, "-c", WORKERS_STOP]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


ENDLESS = """
import itertools
from shards.executors.local import LocalExecutor
from tests.shards.executors.tasks import process_number
seen = set()
for outcome in LocalExecutor(2).run(process_number, itertools.count()):
    if len(seen) < 2 and len(seen := seen | {outcome.result}) == 2:
        print("begun", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "is_stopped"), [(signal.SIGINT, False), (signal.SIGKILL, False), (signal.SIGKILL, True)]
)
def test_no_worker_outlives_its_parent(number: int, is_stopped: bool) -> None:
    """Not even one that is stopped."""
    if is_stopped and sys.platform != "linux":
        pytest.skip("only Linux kills a stopped process with its parent")
    with as_in_a_shell(sys.executable, "-c", ENDLESS) as process:
        below: set[int] = set()
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            below = descendants(process.pid)
            assert len(workers_of(process.pid)) == 2
            for worker in workers_of(process.pid) if is_stopped else ():
                os.kill(worker, signal.SIGSTOP)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does
            else:
                process.send_signal(number)
            process.wait(timeout=PATIENCE_S)
            wait_for(lambda: not below & set(running()))
        finally:
            kill_all(below)
        assert process.stderr is not None
        error = process.stderr.read()
    assert process.returncode == -number
    assert error.splitlines()[-1:] == ([] if number == signal.SIGKILL else ["KeyboardInterrupt"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_held_back(number: int) -> None:
    """Beside a thread that blocks no signals, and to which the system would deliver them."""
    caught: list[int] = []
    old = signal.signal(number, lambda number, frame: caught.append(number))
    idle = threading.Event()
    threading.Thread(target=idle.wait, daemon=True).start()
    try:
        with uninterrupted():
            os.kill(os.getpid(), number)
            for _ in range(1000):  # Python runs pending handlers between two steps
                assert caught == []
        assert caught == [number]
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        idle.set()
        signal.signal(number, old)


def test_ignored_signal_stays_ignored() -> None:
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, old)


def test_other_threads_hold_back_nothing() -> None:
    masks = []

    def work() -> None:
        with uninterrupted():
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert masks == [set()]
